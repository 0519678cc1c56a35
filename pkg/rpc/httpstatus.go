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

// httpCodes are the Connect protocol's names of the gRPC codes and the HTTP
// statuses that go with them (https://connectrpc.com/docs/protocol/#error-codes).
var httpCodes = [...]struct {
	name   string
	status int
}{
	codes.Canceled:           {"canceled", 499},
	codes.Unknown:            {"unknown", http.StatusInternalServerError},
	codes.InvalidArgument:    {"invalid_argument", http.StatusBadRequest},
	codes.DeadlineExceeded:   {"deadline_exceeded", http.StatusGatewayTimeout},
	codes.NotFound:           {"not_found", http.StatusNotFound},
	codes.AlreadyExists:      {"already_exists", http.StatusConflict},
	codes.PermissionDenied:   {"permission_denied", http.StatusForbidden},
	codes.ResourceExhausted:  {"resource_exhausted", http.StatusTooManyRequests},
	codes.FailedPrecondition: {"failed_precondition", http.StatusBadRequest},
	codes.Aborted:            {"aborted", http.StatusConflict},
	codes.OutOfRange:         {"out_of_range", http.StatusBadRequest},
	codes.Unimplemented:      {"unimplemented", http.StatusNotImplemented},
	codes.Internal:           {"internal", http.StatusInternalServerError},
	codes.Unavailable:        {"unavailable", http.StatusServiceUnavailable},
	codes.DataLoss:           {"data_loss", http.StatusInternalServerError},
	codes.Unauthenticated:    {"unauthenticated", http.StatusUnauthorized},
}

func httpStatus(c codes.Code) int {
	if c == codes.OK || int(c) >= len(httpCodes) {
		return http.StatusInternalServerError
	}
	return httpCodes[c].status
}

func connectCode(c codes.Code) string {
	if c == codes.OK || int(c) >= len(httpCodes) {
		return httpCodes[codes.Unknown].name
	}
	return httpCodes[c].name
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
