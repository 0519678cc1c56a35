package identity

import (
	"context"
	"crypto"
	"crypto/x509"
)

// Driver is where a [Source] gets certificates. Its methods may be called
// concurrently with each other, each by one goroutine at a time.
type Driver interface {
	// Name is the field's term for it, such as "local CA", for messages.
	Name() string

	// Issue returns a certificate with the roots to trust. It may take as long
	// as it must, for example until somebody approves, and ends with ctx. What
	// it returns belongs to the caller. It need not verify anything, as the
	// Source does, nor try again; an error that only a person can mend matches
	// ErrSetup, and its message says how.
	Issue(ctx context.Context, r Request) (Issued, error)
}

// RootWatcher is a Driver whose roots change apart from its certificates.
type RootWatcher interface {
	// WatchRoots calls set with all the roots to trust, first when they are
	// known, then at each change, from one goroutine, and waiting, from the
	// same, with why there are none or no newer ones; nil, or set, ends that.
	// It blocks until ctx ends (then nil), or it knows no more (then the
	// reason): the Source keeps the last ones and calls again. The Source
	// trusts new roots at once, and asks for a certificate that names them.
	WatchRoots(ctx context.Context, set func([]*x509.Certificate), waiting func(why error)) error
}

// RenewalWatcher is a Driver that learns when a certificate is to be another
// than it is, for example with other names, before its time.
type RenewalWatcher interface {
	// WatchRenewals calls renew when the last certificate that was issued is
	// not what would be issued now, once for each such change. It blocks until
	// ctx ends, and runs while the Source does.
	WatchRenewals(ctx context.Context, renew func())
}

// Request is what a Source asks a Driver for.
type Request struct {
	// Key was made for this request and exists in memory only. It is there to
	// sign a certificate request with, and not to be kept or written.
	Key crypto.Signer

	// BundleHash names the roots that the process trusts now; "" = none yet.
	BundleHash string

	// Waiting tells what the driver waits for, as long as it does; nil ends
	// the wait. It is shown by Source.Err, and logged when it changes.
	Waiting func(why error)
}

// Issued is a Driver's answer.
type Issued struct {
	// Chain is the certificate, and then the intermediates up to a root.
	Chain []*x509.Certificate

	// Key is the certificate's key; nil if it is the request's.
	Key crypto.Signer

	// Roots are the roots to trust; those of a RootWatcher come before them.
	Roots []*x509.Certificate
}
