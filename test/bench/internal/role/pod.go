package role

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// podCalls is how many calls a pod makes to itself before its memory is read.
const podCalls = 20000

// Memory is what a pod prints, as one line of JSON.
type Memory struct {
	Calls int `json:"calls"`
	usage.Memory
}

// pod makes calls to itself, prints what memory it has, and waits for ctx.
func (s Subject) pod(ctx context.Context, out io.Writer) error {
	conn, stop, err := s.Pod(ctx, &load.Echo{})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = stop(closing) // the figure is out, and the process ends
	}()
	client := testgrpc.NewTestServiceClient(conn)
	request := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 64)}}
	for i := range podCalls {
		call, cancel := context.WithTimeout(ctx, 30*time.Second) // the first finds itself
		_, err := client.UnaryCall(call, request, grpc.WaitForReady(true))
		cancel()
		if err != nil {
			return fmt.Errorf("call %d: %w", i+1, err)
		}
	}
	m, err := usage.ReadMemory()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(Memory{Calls: podCalls, Memory: m}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
