package rpc

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
)

// sent returns what a caller gets of err: over the wire, as bytes.
func sent(t *testing.T, err error) *Error {
	t.Helper()
	data, marshalErr := proto.Marshal(status.Convert(toWire(err)).Proto())
	if marshalErr != nil {
		t.Fatalf("%v cannot be sent: %v", err, marshalErr)
	}
	p := &spb.Status{}
	if err := proto.Unmarshal(data, p); err != nil {
		t.Fatal(err)
	}
	got := fromWire(t.Context(), status.ErrorProto(p))
	var e *Error
	if !errors.As(got, &e) {
		t.Fatalf("%T %v is no Error", got, got)
	}
	return e
}

// FuzzErrorArrives holds that a caller gets the Error that left, and that it
// stays that through any number of services.
func FuzzErrorArrives(f *testing.F) {
	f.Add(uint32(9), "out of stock", "OUT_OF_STOCK", "inventory.shop", "sku", "7", "type.googleapis.com/a.B", []byte("x"))
	f.Add(uint32(0), "", "", "", "", "", "", []byte(nil))
	f.Add(uint32(1<<31), "\xff", "\xff", "\xff", "\xff", "\xff", "\xff", []byte{0xff})
	f.Add(uint32(2), "grpc: received message larger than max (1 vs. 2)", "", "d", "", "", "type.googleapis.com/google.rpc.ErrorInfo", []byte{})
	f.Fuzz(func(t *testing.T, code uint32, message, reason, domain, name, value, typeURL string, detail []byte) {
		e := &Error{Code: codes.Code(code), Message: message, Reason: reason, Domain: domain}
		if name != "" {
			e.Metadata = map[string]string{name: value}
		}
		want := &Error{Code: e.code(), Message: validText(message), Reason: validText(reason), Domain: validText(domain)}
		if name != "" {
			want.Metadata = map[string]string{validText(name): validText(value)}
		}
		if _, message := restate(want.Code, want.Message); message != "" {
			return // grpc-go's own words, which callers get in plainer ones
		}
		described := reason != "" || domain != "" || name != ""
		if a := (&anypb.Any{TypeUrl: typeURL, Value: detail}); typeURL != "" {
			e.Details = []proto.Message{a}
			// Packed as bytes it arrives as the message that it is.
			if m := unpack(a); validText(typeURL) == typeURL {
				if a.MessageName() == "google.rpc.ErrorInfo" && !described {
					return // it takes the place of reason, domain and metadata
				}
				want.Details = []proto.Message{m}
			}
		}
		got := sent(t, e)
		opts := cmp.Options{cmpopts.IgnoreUnexported(Error{}), cmpopts.EquateEmpty(), protocmp.Transform(), cmpopts.EquateNaNs()}
		if diff := cmp.Diff(want, got, opts); diff != "" {
			t.Errorf("left (-), arrived (+):\n%s", diff)
		}
		if described && reason == validText(reason) && domain == validText(domain) && reason != "" && !errors.Is(got, e) {
			t.Errorf("%v is not the sentinel", got)
		}
		again := sent(t, got)
		if diff := cmp.Diff(got.GRPCStatus().Proto(), again.GRPCStatus().Proto(), protocmp.Transform()); diff != "" {
			t.Errorf("behind another service: %s", diff)
		}
	})
}

// FuzzStatus holds that any status that a server may send is an Error of the
// same bytes, and none harms.
func FuzzStatus(f *testing.F) {
	for _, p := range []*spb.Status{
		{}, {Code: 5, Message: "gone"}, {Code: -1, Details: []*anypb.Any{{}, {TypeUrl: "type.googleapis.com/google.protobuf.Any"}}},
		{Code: 3, Details: []*anypb.Any{{TypeUrl: "type.googleapis.com/google.rpc.ErrorInfo", Value: []byte{10, 1, 'R'}}, {TypeUrl: "/", Value: []byte{0}}}},
	} {
		data, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &spb.Status{}
		if proto.Unmarshal(data, p) != nil || p.GetCode() == 0 {
			return
		}
		if _, message := restate(codes.Code(p.GetCode()), p.GetMessage()); message != "" {
			return
		}
		deterministic := proto.MarshalOptions{Deterministic: true}
		want, err := deterministic.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		e := ErrorOf(status.ErrorProto(p))
		got, err := deterministic.Marshal(e.GRPCStatus().Proto())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x became %x, %v", want, got, err)
		}
		_ = e.Error()
		// Put together anew it says the same.
		anew := *e
		anew.wire = nil
		if again := fromStatus(anew.GRPCStatus()); !again.equal(e) && len(e.Details) == 0 {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}
