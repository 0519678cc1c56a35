package rpc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// An Error says why a call failed, in a form that arrives at the caller as it
// left: a gRPC status with its details (https://google.aip.dev/193). A handler
// returns one, or an error that wraps one; errors.As finds it in what a call
// through a Conn returns. Statuses made by grpc-go's own package serve as well,
// and [ErrorOf] makes an Error of any of them.
//
// An Error with a Reason is a sentinel: declared once, in a package that both
// sides import, it is what errors.Is finds at the caller, whatever text was put
// around it. A sentinel is not to be changed; With copies it.
//
// Everything in it is told to the caller, as is the text of any other error
// that a handler returns: what callers may not know does not belong there.
type Error struct {
	// Code is the kind of failure, all that a caller who knows nothing of the
	// service can act on. OK is taken for Unknown.
	Code codes.Code

	// Message is for the people who read the caller's log. It need not repeat
	// the code.
	Message string

	// Reason tells programs what exactly is wrong, such as OUT_OF_STOCK: up to
	// 63 of A-Z, 0-9 and _. It means something within its Domain only, such as
	// inventory.shop.
	Reason, Domain string

	// Metadata says more about the Reason: names in lowerCamelCase.
	Metadata map[string]string

	// Details are further ones, such as *errdetails.RetryInfo. A detail of a
	// type that the program does not know is an *anypb.Any, and travels on
	// as it is. One that cannot be encoded is left out.
	Details []proto.Message

	wire  *status.Status // what the Error was made of, or nil
	cause error          // the error that wire was taken from, or nil
	ended error          // why the call's context is over, if that was the reason, or nil
}

// Error implements error: the message, or else the reason, or the code. An
// Error that was received says its code first, for who reads it in a log has
// nothing else.
func (e *Error) Error() string {
	if e == nil {
		return "rpc: a nil *Error was returned as an error"
	}
	text := e.Message
	if text == "" {
		text = e.Reason
	}
	switch {
	case text == "":
		return e.code().String()
	case e.wire != nil:
		return e.code().String() + ": " + text
	}
	return text
}

// Is reports whether target is the same failure: for errors.Is. Errors with a
// reason are the same if their reasons and domains are, and never the same as
// one without; errors without are the same if their codes are.
//
// Of a call that failed because its own context ended, it also holds that it
// is context.Canceled or context.DeadlineExceeded.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	switch {
	case e == nil:
		return false
	case !ok:
		return e.ended != nil && target == e.ended
	case t == nil:
		return false
	case e.Reason != "" || t.Reason != "":
		return e.Reason == t.Reason && e.Domain == t.Domain
	default:
		return e.code() == t.code()
	}
}

// Unwrap returns the error that e was made of, or nil.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// With returns a copy of e with more metadata, for a sentinel that is to be
// returned with the facts of the call.
func (e *Error) With(metadata map[string]string) *Error {
	c := *e
	c.Metadata = maps.Clone(e.Metadata)
	if c.Metadata == nil {
		c.Metadata = make(map[string]string, len(metadata))
	}
	maps.Copy(c.Metadata, metadata)
	return &c
}

// GRPCStatus returns e as grpc-go has it, which finds it here also in errors
// that wrap e; their text is then the status' message. An Error that was
// received and not changed is the status that it came as, to the last byte.
func (e *Error) GRPCStatus() *status.Status {
	if e == nil {
		return nil
	}
	if e.wire != nil && e.wire.Code() != codes.OK && e.equal(fromStatus(e.wire)) {
		return e.wire
	}
	p := &spb.Status{Code: int32(e.code()), Message: validText(e.Message)}
	if e.Reason != "" || e.Domain != "" || len(e.Metadata) > 0 {
		info := &errdetails.ErrorInfo{Reason: validText(e.Reason), Domain: validText(e.Domain)}
		if len(e.Metadata) > 0 {
			info.Metadata = make(map[string]string, len(e.Metadata))
			for name, value := range e.Metadata {
				info.Metadata[validText(name)] = validText(value)
			}
		}
		p.Details = appendDetail(p.Details, info)
	}
	for _, d := range e.Details {
		p.Details = appendDetail(p.Details, d)
	}
	return status.FromProto(p)
}

func (e *Error) code() codes.Code {
	if e.Code == codes.OK {
		return codes.Unknown
	}
	return e.Code
}

// equal reports whether e and o say the same.
func (e *Error) equal(o *Error) bool {
	return e.Code == o.Code && e.Message == o.Message && e.Reason == o.Reason && e.Domain == o.Domain &&
		maps.Equal(e.Metadata, o.Metadata) && slices.EqualFunc(e.Details, o.Details, proto.Equal)
}

// validText returns s as protobuf wants its strings: in UTF-8.
func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// appendDetail adds d, if it can be encoded, to the details of a status.
func appendDetail(to []*anypb.Any, d proto.Message) []*anypb.Any {
	detail, ok := d.(*anypb.Any)
	if !ok {
		var err error
		if detail, err = anypb.New(d); err != nil {
			return to
		}
	}
	if detail == nil {
		return to
	}
	return append(to, detail)
}

// fromStatus returns what a status says. The first ErrorInfo of its details is
// where reason, domain and metadata are.
func fromStatus(st *status.Status) *Error {
	e := &Error{Code: st.Code(), Message: st.Message(), wire: st}
	found := false
	for _, d := range st.Proto().GetDetails() {
		detail := unpack(d)
		if info, ok := detail.(*errdetails.ErrorInfo); ok && !found {
			found = true
			e.Reason, e.Domain, e.Metadata = info.GetReason(), info.GetDomain(), info.GetMetadata()
			continue
		}
		e.Details = append(e.Details, detail)
	}
	return e
}

// unpack returns the message in d, or d itself where its type is not known: or
// where it is an Any, which appendDetail would not pack again.
func unpack(d *anypb.Any) proto.Message {
	m, err := d.UnmarshalNew()
	if _, nested := m.(*anypb.Any); err != nil || nested {
		return d
	}
	return m
}

// ErrorOf returns err as an Error: the one that it is, or what the status in
// its chain says together with err's whole text. An error of a context is
// Canceled or DeadlineExceeded, any other Unknown. It returns nil for nil.
//
// What a Conn of this package returns is an Error already; ErrorOf is for
// errors of other connections, and for middleware.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	//nolint:errorlint // the Error itself: one that is wrapped has the text around it too
	if e, ok := err.(*Error); ok && e != nil {
		return e
	}
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	e := fromStatus(st)
	e.Code = e.code()
	e.cause = err
	return e
}

// fromWire makes an Error of what grpc-go returned for a call of ctx. What is
// no status, such as io.EOF at the end of a stream, stays what it is.
func fromWire(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var found *Error
	if errors.As(err, &found) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := fromStatus(plainWords(st))
	e.cause = err
	switch e.Code {
	case codes.DeadlineExceeded:
		// The callee may notice the deadline first: what counts is that there is one.
		if _, ok := ctx.Deadline(); ok {
			e.ended = context.DeadlineExceeded
		}
	case codes.Canceled:
		if errors.Is(ctx.Err(), context.Canceled) {
			e.ended = context.Canceled
		}
	}
	return e
}

// toWire returns err, or what takes its place because grpc-go could not send
// it: its server for net/http panics at a status with details that does not
// encode, its own drops the details. A text that is not UTF-8 suffices, such as
// one that came from a caller, around an Error with a reason.
func toWire(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err // grpc-go makes a status without details of it
	}
	if st.Code() == codes.OK {
		return status.Error(codes.Unknown, err.Error())
	}
	p := st.Proto()
	if len(p.GetDetails()) == 0 {
		return err
	}
	if _, invalid := proto.Marshal(p); invalid == nil {
		return err
	}
	p.Message = validText(p.GetMessage())
	p.Details = slices.DeleteFunc(p.GetDetails(), func(d *anypb.Any) bool {
		_, invalid := proto.Marshal(d)
		return invalid != nil
	})
	return status.ErrorProto(p)
}
