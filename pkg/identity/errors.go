package identity

import "errors"

// The decisions that a caller can take on an error of this package and of its
// sources. Each is matched by errors.Is.
var (
	// ErrInvalidID: a string, or a certificate, does not carry an ID.
	ErrInvalidID = errors.New("identity: invalid SPIFFE ID")

	// ErrRefused: a certificate, or what comes with it, breaks a rule that
	// certificates of workloads keep, or an issuer refused to make one.
	ErrRefused = errors.New("identity: certificate refused")

	// ErrWrongService: the server that answered is good, but it is not the one
	// that was asked for. The message names both.
	ErrWrongService = errors.New("identity: wrong service")

	// ErrExpired: the peer's certificate ran out while its connection lived.
	ErrExpired = errors.New("identity: certificate expired")

	// ErrPlaintext: the peer spoke without TLS, and that is not allowed here.
	ErrPlaintext = errors.New("identity: the peer does not speak TLS")

	// ErrNotReady: this process has no credentials yet.
	ErrNotReady = errors.New("identity: no credentials yet")

	// ErrSetup: only a person can mend it, and the message says how. A source
	// that never had credentials gives up on it instead of trying again.
	ErrSetup = errors.New("identity: set-up")
)
