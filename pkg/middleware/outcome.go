package middleware

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Code returns the code that err becomes at the caller: that of a gRPC status,
// DeadlineExceeded and Canceled for what a context ended with, and Unknown
// for anything else, such as a status that says OK. It is OK for nil alone.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if s, ok := status.FromError(err); ok {
		if s.Code() == codes.OK {
			return codes.Unknown
		}
		return s.Code()
	}
	return status.FromContextError(err).Code()
}

// CodeName returns gRPC's own name of a code, "DEADLINE_EXCEEDED"
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md), as metrics,
// traces and logs have it. A code that gRPC does not define is "_OTHER".
func CodeName(c codes.Code) string {
	switch c {
	case codes.OK:
		return "OK"
	case codes.Canceled:
		return "CANCELLED"
	case codes.Unknown:
		return "UNKNOWN"
	case codes.InvalidArgument:
		return "INVALID_ARGUMENT"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	case codes.NotFound:
		return "NOT_FOUND"
	case codes.AlreadyExists:
		return "ALREADY_EXISTS"
	case codes.PermissionDenied:
		return "PERMISSION_DENIED"
	case codes.ResourceExhausted:
		return "RESOURCE_EXHAUSTED"
	case codes.FailedPrecondition:
		return "FAILED_PRECONDITION"
	case codes.Aborted:
		return "ABORTED"
	case codes.OutOfRange:
		return "OUT_OF_RANGE"
	case codes.Unimplemented:
		return "UNIMPLEMENTED"
	case codes.Internal:
		return "INTERNAL"
	case codes.Unavailable:
		return "UNAVAILABLE"
	case codes.DataLoss:
		return "DATA_LOSS"
	case codes.Unauthenticated:
		return "UNAUTHENTICATED"
	}
	return "_OTHER"
}

// Failed reports whether an operation that ended with the code failed, as seen
// from a side: for who asked, unless it is OK; for who answered, if the fault is
// its own and not the caller's. These are the errors of OpenTelemetry's
// conventions for gRPC (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/).
// A message that is handled fails whatever its error.
func (o *Operation) Failed(c codes.Code) bool {
	if o.Side == Client || o.Kind == Subscribe {
		return c != codes.OK
	}
	switch c {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return c > codes.Unauthenticated // of no meaning, so of nobody else's making
}

// Streams reports whether o is a stream, of any number of messages.
func (k Kind) Streams() bool { return k == ClientStream || k == ServerStream || k == BidiStream }
