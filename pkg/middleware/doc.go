// Package middleware is the one model of what surrounds an operation: a call,
// unary or streaming, served or made, and a message that is published or
// handled by a subscriber.
//
// A [Middleware] sees all of them, in the order in which they are declared:
// the first is the outermost. What it returns instead of the operation's error
// is what the caller gets. Without any, nothing is called and nothing is
// allocated.
package middleware
