package main

import (
	"context"
	"errors"
	"net/http"
)

// started is ready once the manager runs what does not wait for leadership, which is after its caches started.
type started struct {
	done chan struct{}
}

func newStarted() *started { return &started{done: make(chan struct{})} }

// Start is called once, by the manager.
func (s *started) Start(ctx context.Context) error {
	close(s.done)
	<-ctx.Done()
	return nil
}

// NeedLeaderElection says that an operator that waits for leadership is ready too.
func (s *started) NeedLeaderElection() bool { return false }

func (s *started) check(*http.Request) error {
	select {
	case <-s.done:
		return nil
	default:
		return errors.New("the caches have not started")
	}
}
