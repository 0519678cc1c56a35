package rpc_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// dripping writes text, then a byte now and then until the server has enough,
// and returns what it said and how long it took.
func dripping(t *testing.T, s *testServer, first, drop string, pause time.Duration) (string, time.Duration) {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, first); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause):
				if _, err := io.WriteString(conn, drop); err != nil {
					return
				}
			}
		}
	}()
	if err := conn.SetReadDeadline(began.Add(25 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	took := time.Since(began)
	close(stop)
	<-stopped
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
	return string(said), took
}

// Clients that send a byte now and then are not waited for.
func TestSlowClients(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{BodyTimeout: time.Second, HandshakeTimeout: time.Second, IdleTimeout: 2 * time.Second}}, streaming(echo))
	const json = "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct {
		name, first, drop string
		within            time.Duration
		want              string
	}{
		{"headers", "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\n", "X: x\r\n", 12 * time.Second, ""},
		{"a request line", "POST /", "x", 12 * time.Second, ""},
		{"a body", json + "Content-Length: 100000\r\n\r\n{", " ", 3 * time.Second, "HTTP/1.1 504"},
		{"a chunked body", json + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n \r\n", 3 * time.Second, "HTTP/1.1 504"},
		{"a body that nobody wants", "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n{", " ", 4 * time.Second, "HTTP/1.1 415"},
		{"a body of gRPC over HTTP/1.1", "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc\r\nContent-Length: 100000\r\n\r\n{", " ", 4 * time.Second, "HTTP/1.1 "},
		{"the preface of HTTP/2", http2.ClientPreface[:18], "x", 12 * time.Second, ""},
		{"no SETTINGS", http2.ClientPreface, "", 5 * time.Second, ""},
		{"a frame's header", http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00", 10 * time.Second, ""},
		{"the preface of HTTP/2, our protocol", "\x00xinhari-grpc\n" + http2.ClientPreface[:4], "", 3 * time.Second, ""},
		{"no SETTINGS, our protocol", "\x00xinhari-grpc\n" + http2.ClientPreface, "", 3 * time.Second, ""},
		{"our protocol's first bytes", "\x00xinhari", "", 3 * time.Second, ""},
		{"a frame's payload, our protocol", "\x00xinhari-grpc\n" + http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x40\x00\x01\x00\x00\x00\x00\x01", "\x00", 12 * time.Second, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			said, took := dripping(t, s, tt.first, tt.drop, 100*time.Millisecond)
			if took > tt.within {
				t.Errorf("it took %v", took)
			}
			if !strings.Contains(said, tt.want) {
				t.Errorf("it said %q", said)
			}
		})
	}
	t.Run("but a handler may take its time", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{BodyTimeout: 200 * time.Millisecond}}, func(s *testServer) {
			if err := rpc.Handle(s, "Slow/Slow", func(ctx context.Context, r *echoRequest) (*echoRequest, error) {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(time.Second): // the test's subject, and no synchronisation
					return r, nil
				}
			}); err != nil {
				t.Fatal(err)
			}
		})
		if code, body := post(t, s.addr, "/Slow/Slow", "{}"); code != http.StatusOK {
			t.Errorf("%d %s", code, body)
		}
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		answer, err := client.Post("http://"+s.addr.String()+"/Slow/Slow", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("HTTP/2: %s", answer.Status)
		}
		client.CloseIdleConnections()
	})
}

// A body without end is read up to the limit.
func TestABodyWithoutEnd(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{MaxMessage: 1 << 20}}, nil)
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.WriteString(conn, "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := "10000\r\n" + strings.Repeat(" ", 1<<16) + "\r\n"
		for range 4096 { // 256 MiB, unless the server closes
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(said), "HTTP/1.1 413") {
		t.Errorf("it said %q, %v", said, err)
	}
}

// A client that has many answers sent and reads none is closed, by HTTP/1.1 too.
func TestPipeliningWithoutReading(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{ServerLimits: rpc.ServerLimits{WriteTimeout: time.Second}}, nil)
	before, goroutines := memory()
	conn, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := `{"text":"` + strings.Repeat("x", 1<<16) + `"}`
	request := fmt.Sprintf("POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err := conn.SetWriteDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = io.WriteString(conn, request)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
	flat(t, before, goroutines)
}

// Requests whose ends two readers could see in different places are refused,
// or read as RFC 9112 has it: a Transfer-Encoding overrides a Content-Length.
func TestShapesOfSmuggling(t *testing.T) {
	s := newServer(t, rpc.ServerOptions{}, nil)
	const line = "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	const hidden = "POST /Echo/Hidden HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
	for _, tt := range []struct {
		name, request string
		want          string // of each answer, its status
	}{
		{"two lengths", line + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + hidden, "400"},
		{"a length with a sign", line + "Content-Length: +2\r\n\r\n{}" + hidden, "400"},
		{"a length in hex", line + "Content-Length: 0x2\r\n\r\n{}" + hidden, "400"},
		{"a list of lengths", line + "Content-Length: 2, 2\r\n\r\n{}" + hidden, "400"},
		{"an encoding that is none", line + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"two encodings", line + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"a space before the colon", line + "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}" + hidden, "400"},
		{"a header that goes on in the next line", line + "X: x\r\n Content-Length: 100\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "200"},
		{"a chunk's length without end", line + "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n{}" + hidden, "400"},
		{"a chunk longer than it says", line + "Transfer-Encoding: chunked\r\n\r\n2\r\n{} \r\n0\r\n\r\n" + hidden, "400"},
		{"a bare newline in a chunk's extension", line + "Transfer-Encoding: chunked\r\n\r\n2;x\n{}\r\n0\r\n\r\n" + hidden, "400"},
		{"a null in a header", line + "X: \x00\r\nContent-Length: 2\r\n\r\n{}" + hidden, "400"},
		{"two hosts", "POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nHost: other\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" + hidden, "400"},
		{"a length and an encoding", line + "Content-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + hidden, "200 501"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, tt.request); err != nil {
				t.Fatal(err)
			}
			var got []string
			for r := bufio.NewReader(conn); ; {
				answer, err := http.ReadResponse(r, nil)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection stays open")
				}
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				got = append(got, fmt.Sprint(answer.StatusCode))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("the answers are %v, want %v", got, tt.want)
			}
		})
	}
}

// Who is not served has nothing read of what it sends but what is on the way,
// and keeps no connection.
func TestWhatAnUnservedCallerCosts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	caller, served := source(t, "caller", dir, time.Hour), source(t, "test", dir, time.Hour)
	s := newServer(t, rpc.ServerOptions{Transport: mutual(served)}, nil)
	for _, protocol := range []string{"xinhari-grpc", "h2"} {
		dial := func(t *testing.T) *attacker {
			config := clientConfig(t, caller, true)
			config.NextProtos = []string{protocol}
			conn, err := tls.Dial("tcp", s.addr.String(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
				t.Fatal(err)
			}
			a := newAttacker(conn)
			if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			if err := a.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			return a
		}
		t.Run(protocol+"/"+"its message is not read", func(t *testing.T) {
			a := dial(t)
			id, err := a.open("/grpc.testing.TestService/UnaryCall")
			if err != nil {
				t.Fatal(err)
			}
			// The message is said to have 4 MiB and a byte of it comes: a server
			// that wanted it would wait.
			if err := a.WriteData(id, false, []byte{0, 0, 0x40, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			if got := a.status(t, id); got != codes.Unauthenticated {
				t.Errorf("it got %v, want Unauthenticated", got)
			}
		})
		t.Run(protocol+"/"+"it is refused so often and no more", func(t *testing.T) {
			a := dial(t)
			calls := 0
			for ; ; calls++ {
				id, err := a.open("/grpc.testing.TestService/UnaryCall")
				if err != nil {
					break
				}
				if got := a.status(t, id); got == codes.Unavailable {
					break
				} else if got != codes.Unauthenticated {
					t.Fatalf("it got %v", got)
				}
			}
			if calls < 50 {
				t.Errorf("the connection ended after %d calls", calls)
			}
		})
	}
	if err := call(t.Context(), ownConn(t, rpc.ConnOptions{Transport: mutual(caller)}, s.addr)); status.Code(err) != codes.OK {
		t.Error(err)
	}
}
