package pace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// stream is a service whose one streaming method is a test's.
type stream struct {
	testgrpc.UnimplementedTestServiceServer
	handle func(testgrpc.TestService_FullDuplexCallServer) error
}

func (s stream) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	return s.handle(stream)
}

// call makes a call of the method with a body, as net/http would hand it on.
func call(body io.Reader, handle func(testgrpc.TestService_FullDuplexCallServer) error) http.Header {
	s := grpc.NewServer(ServerOption())
	testgrpc.RegisterTestServiceServer(s, stream{handle: handle})
	r := httptest.NewRequest(http.MethodPost, "/grpc.testing.TestService/FullDuplexCall", body)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	r.Header.Set("Content-Type", "application/grpc")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, Request(r, true))
	return w.Header()
}

// message is one of a payload of n bytes, in gRPC's framing.
func message(t testing.TB, n int) []byte {
	t.Helper()
	m := &testgrpc.StreamingOutputCallRequest{}
	if n > 0 {
		m.Payload = &testgrpc.Payload{Body: make([]byte, n)}
	}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...)
}

// counted counts what is read of it.
type counted struct {
	io.Reader
	read atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// What a handler does not take stays at the client, but for a window.
func TestABodyIsReadAsItsHandlerTakesIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int // of a message's payload
	}{{"small messages", 100}, {"empty messages", 0}, {"large messages", 100 << 10}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one := message(t, tt.size)
				count := min(4<<20/len(one), 20_000)
				source := &counted{Reader: bytes.NewReader(bytes.Repeat(one, count))}
				take, taken := make(chan int), make(chan error)
				done := make(chan http.Header)
				go func() {
					done <- call(source, func(stream testgrpc.TestService_FullDuplexCallServer) error {
						for n := range take {
							for range n {
								if _, err := stream.Recv(); err != nil {
									taken <- err
									return err
								}
							}
							taken <- nil
						}
						return nil
					})
				}()
				const frame = 16 << 10 // what grpc-go reads at a time
				total := 0
				for _, n := range []int{0, 1, 5, count / 2} {
					take <- n
					if err := <-taken; err != nil {
						t.Fatal(err)
					}
					total += n
					synctest.Wait()
					most := total*len(one) + window + frame
					if got := int(source.read.Load()); got > most {
						t.Errorf("after %d messages of %d bytes, %d bytes are read; want at most %d", total, len(one), got, most)
					}
				}
				take <- count - total
				if err := <-taken; err != nil {
					t.Fatal(err)
				}
				take <- 1
				if err := <-taken; !errors.Is(err, io.EOF) {
					t.Errorf("after the last message: %v", err)
				}
				<-done
			})
		})
	}
}

// However the bytes come, every message arrives.
func TestNoMessageIsLost(t *testing.T) {
	sizes := []int{0, 1, 5, 100, 0, 0, 16 << 10, 65 << 10, 100 << 10, 3, 0}
	var body []byte
	for _, n := range sizes {
		body = append(body, message(t, n)...)
	}
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"at once":     func(r io.Reader) io.Reader { return r },
		"one by one":  iotest.OneByteReader,
		"by halves":   iotest.HalfReader,
		"EOF at once": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call(reader(bytes.NewReader(body)), func(stream testgrpc.TestService_FullDuplexCallServer) error {
					for i, want := range sizes {
						synctest.Wait() // as much is read ahead as may be
						m, err := stream.Recv()
						if err != nil || len(m.GetPayload().GetBody()) != want {
							t.Errorf("message %d: %d bytes, %v; want %d", i, len(m.GetPayload().GetBody()), err, want)
							return err
						}
					}
					if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
						t.Errorf("after the last message: %v", err)
					}
					return nil
				})
			})
		})
	}
}

// A handler that is done ends the reading, however much there is to come.
func TestTheEndOfTheHandlerIsTheEndOfReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		header := call(bytes.NewReader(bytes.Repeat(message(t, 1000), 1000)), func(testgrpc.TestService_FullDuplexCallServer) error { return nil })
		if got := header.Get("Grpc-Status"); got != "0" {
			t.Errorf("status %q", got)
		}
	})
}

// A method that takes one message is not sent more than that and a window.
func TestOneMessageIsNoStream(t *testing.T) {
	for _, tt := range []struct {
		name string
		more int // bytes of a second message
		want error
	}{
		{"nothing more", 0, nil},
		{"a little more", window / 2, nil},
		{"much more", 1 << 20, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := message(t, 200<<10)
			if tt.more > 0 {
				body = append(body, message(t, tt.more)...)
			}
			r := Request(httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)), false)
			n, err := io.Copy(io.Discard, r.Body)
			if !errors.Is(err, tt.want) || tt.want == nil && n != int64(len(body)) {
				t.Errorf("%d of %d bytes, %v; want %v", n, len(body), err, tt.want)
			}
		})
	}
}
