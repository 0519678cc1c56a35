package kubewatch

import (
	"errors"
	"fmt"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// outspoken makes lost connections and timeouts errors that client-go hands
// on. Left alone it makes an empty watch of them: a load balancer without an
// API server behind it would look like an API server without news.
type outspoken struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o outspoken) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.next.RoundTrip(r)
	switch {
	case err == nil || r.Context().Err() != nil:
		return answer, err
	case utilnet.IsTimeout(err):
		// Not wrapped: client-go would know it again.
		return nil, fmt.Errorf("the API server does not answer: %v", err) //nolint:errorlint // see above
	case utilnet.IsProbableEOF(err):
		return nil, errors.New("the connection to the API server was closed without an answer")
	}
	return nil, err
}

// WrappedRoundTripper lets client-go find what it knows of the transport.
func (o outspoken) WrappedRoundTripper() http.RoundTripper { return o.next }
