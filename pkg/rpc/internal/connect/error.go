package connect

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// jsonError is an error as the protocol writes it
// (https://connectrpc.com/docs/protocol/#error-end-stream).
type jsonError struct {
	Code    string       `json:"code"`
	Message string       `json:"message,omitempty"`
	Details []jsonDetail `json:"details,omitempty"`
}

type jsonDetail struct {
	Type  string `json:"type"`
	Value string `json:"value"` // base64 without padding
}

// anyPrefix is what protobuf puts before a message's name in a type URL, and
// Connect leaves out. Others are kept, so that nothing is lost.
const anyPrefix = "type.googleapis.com/"

func toJSON(st *status.Status) *jsonError {
	name, _ := nameOf(st.Code())
	e := &jsonError{Code: name, Message: st.Message()}
	for _, d := range st.Proto().GetDetails() {
		e.Details = append(e.Details, jsonDetail{
			Type:  strings.TrimPrefix(d.GetTypeUrl(), anyPrefix),
			Value: base64.RawStdEncoding.EncodeToString(d.GetValue()),
		})
	}
	return e
}

// httpStatus is that of a status' code.
func httpStatus(st *status.Status) int {
	_, code := nameOf(st.Code())
	return code
}

// writeError answers a request with an error as JSON.
func writeError(w http.ResponseWriter, httpStatus int, st *status.Status) {
	body, err := json.Marshal(toJSON(st))
	if err != nil { // strings always encode
		body = []byte(`{"code":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(body, '\n'))
}

// grpcStatus reads the status that grpc-go put into an answer's trailers; nil
// if there is none.
func grpcStatus(trailers http.Header) *status.Status {
	trailer := func(name string) string {
		if v := trailers[http.TrailerPrefix+strings.ToLower(name)]; len(v) > 0 {
			return v[0]
		}
		return trailers.Get(name)
	}
	code, err := strconv.ParseUint(trailer("Grpc-Status"), 10, 32)
	if err != nil {
		return nil
	}
	st := &spb.Status{Code: int32(code), Message: decodeMessage(trailer("Grpc-Message"))}
	if raw := trailer("Grpc-Status-Details-Bin"); raw != "" {
		st.Details = details(raw)
	}
	return status.FromProto(st)
}

// decodeMessage undoes the percent encoding of a grpc-message.
func decodeMessage(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

// details are those of an encoded google.rpc.Status; its code and message are
// the trailers' as well.
func details(raw string) []*anypb.Any {
	encoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(raw, "="))
	if err != nil {
		return nil
	}
	st := new(spb.Status)
	if err := proto.Unmarshal(encoded, st); err != nil {
		return nil
	}
	return st.GetDetails()
}
