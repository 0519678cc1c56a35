package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/catalog/foldercatalog"
	"github.com/xinhari/xinhari/pkg/rpc"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
	"github.com/xinhari/xinhari/pkg/runtime/runtimetest"
)

// What the callee's Service object says of calls holds for the connections
// that there are, and a change of it from the next calls on.
func TestTrafficOfTheServiceObjectIsFollowed(t *testing.T) {
	noLeaks(t)
	folder := t.TempDir()
	write := func(traffic string) {
		t.Helper()
		text := "apiVersion: xinhari.com/v1alpha1\nkind: Service\nmetadata: {name: greeter}\nspec: {selector: {app: x}, traffic: {" + traffic + "}}\n"
		next := filepath.Join(folder, "next")
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(folder, "greeter.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	write("timeout: 90s, policy: RoundRobin")
	objects, err := foldercatalog.New(folder, "default")
	if err != nil {
		t.Fatal(err)
	}
	n := runtimetest.New(t)
	caller := n.Service("caller", xinhari.Options{Catalog: objects})
	for _, name := range []string{"a", "b"} {
		s := n.Service("greeter", xinhari.Options{})
		greet(t, s, func(ctx context.Context, _ *hello) (*hello, error) {
			left := "forever"
			if deadline, ok := ctx.Deadline(); ok {
				left = fmt.Sprint(time.Until(deadline).Round(30 * time.Second))
			}
			return &hello{Name: name + " " + left}, nil
		})
		n.Start(s)
	}
	n.Start(caller)

	// turns makes calls and returns how often one instance answered after the
	// other, and the time that the last call had.
	const calls = 60
	turns := func() (changes int, left string) {
		t.Helper()
		var last string
		for range calls {
			got, err := call(t.Context(), caller, "greeter")
			if err != nil {
				t.Fatal(err)
			}
			var name string
			if _, err := fmt.Sscan(got, &name, &left); err != nil {
				t.Fatal(err)
			}
			if name != last {
				changes++
			}
			last = name
		}
		return changes, left
	}
	for _, c := range []struct {
		traffic string
		inTurn  bool
		left    string
	}{
		{"timeout: 90s, policy: RoundRobin", true, "1m30s"},
		{"timeout: 150s, policy: Random", false, "2m30s"},
		{"timeout: 210s, policy: RoundRobin", true, "3m30s"},
		{"policy: Random", false, "forever"},
	} {
		write(c.traffic)
		began := time.Now()
		for {
			changes, left := turns()
			// By chance Random takes turns in one of 2^59 runs.
			if (changes == calls) == c.inTurn && left == c.left {
				break
			}
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%s: %d changes in %d calls, %s left for the last", c.traffic, changes, calls, left)
			}
		}
	}
}

func TestACallThatWantsToWaitsForAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runtimetest.New(t)
		orders, inventory := n.Service("orders", xinhari.Options{}), n.Service("inventory", xinhari.Options{})
		greet(t, inventory, echo)
		n.Start(orders)
		answered := make(chan error, 1)
		go func() {
			_, err := rpc.Call[hello](t.Context(), orders.Conn("inventory"), "Greeter/Hello", &hello{}, grpc.WaitForReady(true))
			answered <- err
		}()
		if _, err := call(t.Context(), orders, "inventory"); status.Code(err) != codes.Unavailable {
			t.Errorf("a call that does not want to wait: %v", err)
		}
		synctest.Wait()
		select {
		case err := <-answered:
			t.Fatalf("answered before there was an instance: %v", err)
		default:
		}
		n.Start(inventory)
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}
