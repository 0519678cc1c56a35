package runtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/pkg/identity"
	"github.com/xinhari/xinhari/pkg/identity/localsource"
	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

func localIdentity(t *testing.T, name, dir string) *identity.Source {
	t.Helper()
	s, err := localsource.New(name, localsource.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Services of another user of the machine are found, and told from one's own.
func TestAServiceUnderAnotherCAIsListedAndNeverCalled(t *testing.T) {
	noLeaks(t)
	name := fmt.Sprintf("greeter-%x", rand.Uint64())
	mine, theirs := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "ca")
	caller := newService(t, "caller", xinhari.Options{Identity: localIdentity(t, "caller", mine)})
	foreign := newService(t, name, xinhari.Options{Identity: localIdentity(t, name, theirs)})
	greet(t, foreign, func(context.Context, *hello) (*hello, error) { return &hello{Name: "theirs"}, nil })
	if err := foreign.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := call(ctx, caller, name); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "1 of its instances are under another CA: set XINHARI_CA_DIR") {
		t.Errorf("the call: %v", err)
	}
	services, err := caller.Discovery().List(ctx)
	if err != nil || !slices.Contains(services, foreign.Name()) {
		t.Errorf("listed: %v, %v", services, err)
	}

	own := newService(t, name, xinhari.Options{Identity: localIdentity(t, name, mine)})
	greet(t, own, func(context.Context, *hello) (*hello, error) { return &hello{Name: "mine"}, nil })
	if err := own.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for answered := 0; answered < 20; {
		got, err := call(ctx, caller, name)
		switch {
		case ctx.Err() != nil:
			t.Fatalf("the own instance is not found: %v", err)
		case err == nil && got == "theirs":
			t.Fatal("the other user's instance was called")
		case err == nil:
			answered++
		}
	}
}

// Credentials that cannot be had are an error of Start that says what to do.
func TestStartWithoutAPlaceForTheCA(t *testing.T) {
	noLeaks(t)
	s := newService(t, "orders", xinhari.Options{Identity: localIdentity(t, "orders", "/dev/null/ca")})
	greet(t, s, echo)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := s.Start(ctx)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "XINHARI_CA_DIR") {
		t.Errorf("error %v", err)
	}
}
