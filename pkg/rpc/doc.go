// Package rpc serves and makes gRPC calls with messages of any encoding.
//
// A [Server] takes generated services as grpc-go's does, and plain Go
// functions through [Handle], [HandleServerStream], [HandleClientStream] and
// [HandleBidiStream]. It answers on one port: its own clients, any other gRPC
// client, and those of the Connect protocol, of which JSON by HTTP POST is
// part. A [Conn] is what generated clients take; [Call], [CallServerStream],
// [CallClientStream] and [CallBidiStream] call plain Go handlers through it.
// Plain Go messages travel as JSON or, by the schema of package schema, as
// protobuf.
//
// Errors are gRPC statuses, and at both sides an [Error], which errors.Is and
// errors.As find. A content type that a server or client has no codec for is
// codes.Unimplemented, and the message lists those there are.
//
// The package knows nothing of where services are (that is pkg/discovery) nor
// of who may call (pkg/authz): a Conn is given endpoints, and a Server a
// transport that says who called.
package rpc
