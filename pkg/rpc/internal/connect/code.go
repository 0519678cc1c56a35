package connect

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// nameOf returns the Connect protocol's name of a gRPC code and the HTTP
// status that goes with it (https://connectrpc.com/docs/protocol/#error-codes).
// A code that gRPC does not define is unknown.
func nameOf(c codes.Code) (name string, httpStatus int) {
	switch c {
	case codes.Canceled:
		return "canceled", 499 // no name in net/http: the client went away
	case codes.InvalidArgument:
		return "invalid_argument", http.StatusBadRequest
	case codes.DeadlineExceeded:
		return "deadline_exceeded", http.StatusGatewayTimeout
	case codes.NotFound:
		return "not_found", http.StatusNotFound
	case codes.AlreadyExists:
		return "already_exists", http.StatusConflict
	case codes.PermissionDenied:
		return "permission_denied", http.StatusForbidden
	case codes.ResourceExhausted:
		return "resource_exhausted", http.StatusTooManyRequests
	case codes.FailedPrecondition:
		return "failed_precondition", http.StatusBadRequest
	case codes.Aborted:
		return "aborted", http.StatusConflict
	case codes.OutOfRange:
		return "out_of_range", http.StatusBadRequest
	case codes.Unimplemented:
		return "unimplemented", http.StatusNotImplemented
	case codes.Internal:
		return "internal", http.StatusInternalServerError
	case codes.Unavailable:
		return "unavailable", http.StatusServiceUnavailable
	case codes.DataLoss:
		return "data_loss", http.StatusInternalServerError
	case codes.Unauthenticated:
		return "unauthenticated", http.StatusUnauthorized
	default:
		return "unknown", http.StatusInternalServerError
	}
}
