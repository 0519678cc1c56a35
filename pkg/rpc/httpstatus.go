package rpc

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// connectCode returns the Connect protocol's name of a gRPC code and the HTTP
// status that goes with it (https://connectrpc.com/docs/protocol/#error-codes).
// A code that gRPC does not define is unknown.
func connectCode(c codes.Code) (name string, status int) {
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

// decodeMessage undoes the percent encoding of a grpc-message.
func decodeMessage(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

// statusDetails turns the details of an encoded google.rpc.Status into
// Connect's form.
func statusDetails(raw []byte) []httpErrorDetail {
	st := new(spb.Status)
	if err := proto.Unmarshal(raw, st); err != nil {
		return nil
	}
	details := make([]httpErrorDetail, 0, len(st.GetDetails()))
	for _, d := range st.GetDetails() {
		details = append(details, httpErrorDetail{
			Type:  d.GetTypeUrl()[strings.LastIndexByte(d.GetTypeUrl(), '/')+1:],
			Value: base64.RawStdEncoding.EncodeToString(d.GetValue()),
		})
	}
	return details
}

func millis(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }
