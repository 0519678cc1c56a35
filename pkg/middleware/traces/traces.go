// Package traces makes a span of each operation, for OpenTelemetry.
//
// Names, attributes and what counts as an error follow its conventions
// (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, and
// messaging/messaging-spans/). Trace and baggage travel in the headers
// traceparent, tracestate and baggage, as the W3C has them. Of a stream, the
// span lasts until it has ended; its messages are not events of it. Nothing of
// a message, and of headers none but these, gets into a span.
package traces

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/xinhari/xinhari/internal/memo"
	"github.com/xinhari/xinhari/pkg/middleware"
)

// Options are the options of New; the zero value is good.
type Options struct {
	// Propagator reads and writes the headers; nil is W3C trace context and
	// baggage.
	Propagator propagation.TextMapPropagator
}

// scope names what makes the spans, to OpenTelemetry.
const scope = "github.com/xinhari/xinhari/pkg/middleware/traces"

// maxNames bounds what is remembered of operations; how to begin the spans of
// others is worked out each time.
const maxNames = 1000

// New returns the middleware whose spans provider takes; the application
// chooses, with it, what is sampled and where it goes.
func New(provider trace.TracerProvider, o Options) middleware.Middleware {
	if o.Propagator == nil {
		o.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	t := &tracer{tracer: provider.Tracer(scope), propagator: o.Propagator, beginnings: memo.New(maxNames, begin)}
	return t.middleware
}

// TraceID returns the ID of the trace that ctx belongs to, "" if it is of none.
func TraceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		return s.TraceID().String()
	}
	return ""
}

type tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	beginnings *memo.Table[what, beginning]
}

func (t *tracer) middleware(next middleware.Handler) middleware.Handler {
	return func(ctx context.Context, o *middleware.Operation) (err error) {
		key := what{side: o.Side, kind: o.Kind, name: o.Name, service: o.Service}
		b, ok := t.beginnings.Get(key)
		if !ok {
			b = begin(key)
		}
		headers := carrier{ctx: ctx, o: o}
		if o.Side == middleware.Server {
			ctx = t.propagator.Extract(ctx, &headers)
		}
		ctx, span := t.tracer.Start(ctx, b.span, b.options...)
		if o.Side == middleware.Client {
			headers.ctx = ctx
			t.propagator.Inject(ctx, &headers)
			ctx = headers.ctx
		}
		returned := false
		defer func() { // also for a goroutine that ends, and a panic that nobody stopped
			if span.IsRecording() {
				if !returned {
					err = errNotReturned
				}
				end(span, o, err)
			}
			span.End()
		}()
		err = next(ctx, o)
		returned = true
		return err
	}
}

var errNotReturned = status.Error(codes.Internal, "the handler did not return")

// end tells the span how the operation ended.
func end(span trace.Span, o *middleware.Operation, err error) {
	code := middleware.Code(err)
	name := middleware.CodeName(code)
	if !message(o.Kind) {
		span.SetAttributes(attribute.String(rpcStatusCode, name))
	}
	if !o.Failed(code) {
		return
	}
	span.SetAttributes(attribute.String(errorType, name))
	text := ""
	if err != nil {
		text = status.Convert(err).Message()
	}
	span.SetStatus(otelcodes.Error, text)
}

// The attributes' names, by version 1.43 of the conventions. The Go package of
// that version would bring its schema along, and every other name.
const (
	rpcSystem     = "rpc.system.name"
	rpcMethod     = "rpc.method"
	rpcStatusCode = "rpc.response.status_code"
	serverAddress = "server.address"
	errorType     = "error.type"
	messageSystem = "messaging.system"
	messageName   = "messaging.operation.name"
	messageType   = "messaging.operation.type"
	messageTopic  = "messaging.destination.name"
	consumerGroup = "messaging.consumer.group.name"
	systemGRPC    = "grpc"
	systemXinhari = "xinhari"
	publishName   = "publish"
	publishType   = "send"
	processName   = "process"
)

// what is the same for many operations.
type what struct {
	side          middleware.Side
	kind          middleware.Kind
	name, service string
}

// beginning is how spans begin: samplers want to know what there is to know.
type beginning struct {
	span    string
	options []trace.SpanStartOption
}

func begin(w what) beginning {
	switch {
	case w.kind == middleware.Publish:
		return start(publishName+" "+w.name, trace.SpanKindProducer, attribute.String(messageSystem, systemXinhari),
			attribute.String(messageName, publishName), attribute.String(messageType, publishType), attribute.String(messageTopic, w.name))
	case w.kind == middleware.Subscribe:
		return start(processName+" "+w.name, trace.SpanKindConsumer, attribute.String(messageSystem, systemXinhari),
			attribute.String(messageName, processName), attribute.String(messageType, processName),
			attribute.String(messageTopic, w.name), attribute.String(consumerGroup, w.service))
	case w.side == middleware.Client:
		return start(w.name, trace.SpanKindClient, attribute.String(rpcSystem, systemGRPC), attribute.String(rpcMethod, w.name),
			attribute.String(serverAddress, w.service))
	}
	return start(w.name, trace.SpanKindServer, attribute.String(rpcSystem, systemGRPC), attribute.String(rpcMethod, w.name))
}

func start(span string, kind trace.SpanKind, attributes ...attribute.KeyValue) beginning {
	return beginning{span, []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(attributes...)}}
}

// message reports whether the operation is about a message and not a call.
func message(k middleware.Kind) bool { return k == middleware.Publish || k == middleware.Subscribe }

// carrier is an operation's headers, to OpenTelemetry.
type carrier struct {
	ctx context.Context // with what was set
	o   *middleware.Operation
}

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(name string) string {
	if all := c.o.Header(c.ctx, name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// Values implements propagation.ValuesGetter.
func (c *carrier) Values(name string) []string { return c.o.Header(c.ctx, name) }

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(name, value string) { c.ctx = c.o.SetHeader(c.ctx, name, value) }

// Keys implements propagation.TextMapCarrier. No propagator of the W3C's
// headers asks for all there are.
func (c *carrier) Keys() []string { return nil }
