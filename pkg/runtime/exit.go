package runtime

import "errors"

var (
	// ErrClosed is returned for what a closed Service is asked to do.
	ErrClosed = errors.New("xinhari: the service is closed")

	// ErrOptions is matched by the errors of New: the options or the
	// environment are to be mended, and trying again does not help.
	ErrOptions = errors.New("xinhari: options")

	// ErrCutOff is matched by the error of Close and Run when calls were in
	// flight at the end of the time that they had, and were cut off.
	ErrCutOff = errors.New("xinhari: calls in flight were cut off")
)

// ExitCode returns the exit code of a program that ends with the error of New
// or Run: 0 without an error, 2 for one of New (ErrOptions), 3 when calls were
// cut off by the stop (ErrCutOff), and 1 for any other. A main that needs no
// more than "it failed" is as well off with log.Fatal.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrOptions):
		return 2
	case errors.Is(err, ErrCutOff):
		return 3
	}
	return 1
}

// optionsError is err, and matches ErrOptions.
type optionsError struct{ error }

func (optionsError) Is(target error) bool { return target == ErrOptions }

func (e optionsError) Unwrap() error { return e.error }
