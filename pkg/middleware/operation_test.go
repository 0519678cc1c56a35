package middleware_test

import (
	"errors"
	"testing"

	"github.com/xinhari/xinhari/pkg/middleware"
)

// TestMessagesAreCounted holds that what arrived counts, whether or not
// somebody refuses it, and what leaves only if nobody does.
func TestMessagesAreCounted(t *testing.T) {
	o := &middleware.Operation{Kind: middleware.BidiStream, Side: middleware.Server}
	hold := func(received, sent uint64) {
		t.Helper()
		if r, s := o.Messages(); r != received || s != sent {
			t.Errorf("%d received and %d sent, want %d and %d", r, s, received, sent)
		}
	}
	hold(0, 0)
	if o.Watched() {
		t.Error("watched by nobody")
	}
	if err := errors.Join(o.Received("a"), o.Sent("b"), o.Sent("c")); err != nil {
		t.Fatal(err)
	}
	hold(1, 2)
	refused := errors.New("refused")
	o.OnReceive(func(any) error { return refused })
	if !o.Watched() {
		t.Error("not watched")
	}
	if err := o.Received("d"); !errors.Is(err, refused) {
		t.Error(err)
	}
	hold(2, 2)
	o.OnSend(func(any) error { return refused })
	if err := o.Sent("e"); !errors.Is(err, refused) {
		t.Error(err)
	}
	hold(2, 2)
	o.Reset()
	hold(0, 0)
	if o.Watched() {
		t.Error("watched after Reset")
	}
}
