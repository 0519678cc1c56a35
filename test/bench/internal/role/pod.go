package role

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/xinhari/xinhari/test/bench/internal/load"
	"github.com/xinhari/xinhari/test/bench/internal/usage"
)

// podCalls is how many calls a pod makes to itself before its memory is read.
const podCalls = 20000

// findTimeout bounds how long a pod may take to find itself.
const findTimeout = 30 * time.Second

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
	found := time.Now().Add(findTimeout)
	for made := 0; made < podCalls; {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := client.UnaryCall(call, request)
		cancel()
		switch {
		case err == nil:
			made++
		case made > 0 || time.Now().After(found):
			return fmt.Errorf("call %d: %w", made+1, err)
		default: // the pod is not ready, or that has not been heard of yet
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
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
