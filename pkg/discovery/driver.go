package discovery

import (
	"context"
	"net/netip"
)

// Driver is a source of endpoints. Its methods may be called concurrently.
type Driver interface {
	// Name is the field's term for the source, such as "mDNS".
	Name() string

	// Watch calls set with the whole of what the source knows of the service,
	// first as soon as it knows whether there are endpoints, then at each
	// change, from one goroutine at a time; the snapshots belong to the
	// receiver. It blocks until ctx ends (then nil), or the source is lost
	// (then the reason): the caller keeps the last snapshot and calls again.
	// A driver that goes on by itself reports a loss by Snapshot.Err.
	Watch(ctx context.Context, service Service, set func(Snapshot)) error
}

// Lister is a Driver that can list the services that it knows.
type Lister interface {
	// List returns the services, in any order. It ends with ctx.
	List(ctx context.Context) ([]Service, error)
}

// Announcer is a Driver that has to be told of instances.
type Announcer interface {
	// Announce makes the instance known, calls known once it is, and when ctx
	// ends takes it back and returns nil. An error says why it could not be
	// made known at all.
	Announce(ctx context.Context, i Instance, known func()) error
}

// Instance is what a process announces of itself.
type Instance struct {
	Service Service
	Version string
	Address netip.AddrPort // where it listens
}
