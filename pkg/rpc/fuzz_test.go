package rpc_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// told is a connection that tells when it is closed.
type told struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *told) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// FuzzConnection holds that whatever a client sends, to be served by grpc-go
// itself or through net/http, the server lives, and gives the connection up
// once the client has.
func FuzzConnection(f *testing.F) {
	calls := func(change func(a *attacker)) []byte {
		here, there := net.Pipe()
		read := make(chan []byte)
		go func() {
			data, _ := io.ReadAll(there) // a pipe has no other error
			read <- data
		}()
		a := newAttacker(here)
		_ = a.WriteSettings() // into memory
		change(a)
		_ = here.Close()
		return <-read
	}
	unary := calls(func(a *attacker) {
		id, _ := a.open("/grpc.testing.TestService/UnaryCall")
		_ = a.WriteData(id, true, message(3))
	})
	f.Add(uint8(0), unary)
	f.Add(uint8(1), unary)
	f.Add(uint8(0), calls(func(a *attacker) {
		id, _ := a.open("/grpc.testing.TestService/FullDuplexCall")
		_ = a.WriteData(id, false, append(message(0), message(2)...))
		_ = a.WritePing(false, [8]byte{})
		_ = a.WriteRSTStream(id, http2.ErrCodeCancel)
		_ = a.WriteGoAway(id, http2.ErrCodeNo, nil)
	}))
	f.Add(uint8(2), []byte("POST /Echo/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add(uint8(2), []byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add(uint8(2), []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))

	server, err := rpc.NewServer(rpc.ServerOptions{Anonymous: everyone})
	if err != nil {
		f.Fatal(err)
	}
	testgrpc.RegisterTestServiceServer(server, &testServer{})
	if err := rpc.Handle(server, "Echo/Echo", func(_ context.Context, r *echoRequest) (*echoRequest, error) { return r, nil }); err != nil {
		f.Fatal(err)
	}
	lis := rpc.NewPipeListener()
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	// A connection that is ended by an error stays for a second, to have the
	// client read why: the next one does not wait for that.
	var ending sync.WaitGroup
	few := make(chan struct{}, 256)
	f.Cleanup(func() {
		ending.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			f.Error(err)
		}
		if err := <-served; err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, how uint8, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		first := map[uint8]string{0: "\x00xinhari-grpc\n" + http2.ClientPreface, 1: http2.ClientPreface}[how%3]
		client, accepted := net.Pipe()
		conn := &told{Conn: accepted, closed: make(chan struct{})}
		lis.Conns <- conn
		few <- struct{}{}
		sent := bytes.NewReader(append([]byte(first), data...))
		ending.Go(func() {
			defer func() { <-few }()
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(io.Discard, client) })
			_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second)) // pipes have them
			_, _ = io.Copy(client, sent)                                 // the server may have closed
			_ = client.Close()
			reading.Wait()
			select {
			case <-conn.closed:
			case <-time.After(20 * time.Second):
				panic("the server keeps a connection that its client has closed")
			}
		})
	})
}
