package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/xinhari/xinhari/pkg/rpc"
)

// failure is a call's error as JSON and YAML have it.
type failure struct {
	Code     string            `json:"code"`
	Message  string            `json:"message"`
	Reason   string            `json:"reason,omitempty"`
	Domain   string            `json:"domain,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Details  []json.RawMessage `json:"details,omitempty"`
}

// callError gives an error the exit code that says whether the service was
// reached, and the output format that was asked for. It goes to standard
// error, also as JSON: standard output has answers and nothing else.
func (o *options) callError(ctx context.Context, err error) error {
	if _, ok := status.FromError(err); !ok {
		return usage("%w", err)
	}
	e := rpc.ErrorOf(err)
	code := exitFailed
	if e.Code == codes.Unavailable || errors.Is(ctx.Err(), context.Canceled) {
		code = exitUnavailable
	}
	err = errors.New(oneLine(e))
	if o.output == "json" || o.output == "yaml" {
		var text strings.Builder
		formatted := *o
		formatted.out = &text
		if printErr := formatted.print(newFailure(e), nil, nil); printErr != nil {
			return printErr
		}
		err = &formattedError{err, text.String()}
	}
	return &exitError{code, err}
}

// oneLine returns an error in one line.
func oneLine(e *rpc.Error) string {
	text := e.Code.String() + ": " + e.Message
	var facts []string
	if e.Reason != "" {
		facts = append(facts, "reason "+e.Reason)
	}
	if e.Domain != "" {
		facts = append(facts, "domain "+e.Domain)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Metadata)) {
		facts = append(facts, name+"="+e.Metadata[name])
	}
	if len(facts) == 0 {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, strings.Join(facts, ", "))
}

func newFailure(e *rpc.Error) failure {
	f := failure{Code: e.Code.String(), Message: e.Message, Reason: e.Reason, Domain: e.Domain, Metadata: e.Metadata}
	for _, d := range e.Details {
		f.Details = append(f.Details, detailJSON(d))
	}
	return f
}

// detailJSON is protojson's form of a detail. Of a type that this program does
// not know it is the name and the bytes.
func detailJSON(d proto.Message) json.RawMessage {
	detail, ok := d.(*anypb.Any)
	if !ok {
		var err error
		if detail, err = anypb.New(d); err != nil {
			return json.RawMessage("null")
		}
	}
	if text, err := protojson.Marshal(detail); err == nil {
		return text
	}
	text, err := json.Marshal(struct {
		Type  string `json:"@type"`
		Value []byte `json:"value"`
	}{detail.GetTypeUrl(), detail.GetValue()})
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}
