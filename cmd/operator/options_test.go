package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xinhari/xinhari/controllers/namespace"
)

func TestParse(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "platform")
	o, err := parse([]string{"-trust-domain=example.org", "-nats-url=nats://a:4222,tls://b:4222", "-etcd-endpoints=https://a:2379, https://b:2379", "-secret-namespaces=shop, finance"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := namespace.Defaults{
		TrustDomain: "example.org", OperatorID: "spiffe://example.org/ns/platform/sa/xinhari-operator",
		NATSURL: "nats://a:4222,tls://b:4222", EtcdEndpoints: []string{"https://a:2379", "https://b:2379"},
	}
	if diff := cmp.Diff(want, o.defaults); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop", "finance"}, o.keys.Namespaces); diff != "" {
		t.Errorf("namespaces with Secrets (-want +got):\n%s", diff)
	}
	if !o.manager.Elect || o.manager.Namespace != "platform" {
		t.Errorf("manager is %+v", o.manager)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ arg, want string }{
		{"-trust-domain=Example.org", "-trust-domain"},
		{"-trust-domain=", "-trust-domain"},
		{"-nats-url=nats:4222", "-nats-url"},
		{"-nats-url=nats://user:hunter2@nats:4222", "password"},
		{"-etcd-endpoints=etcd:2379", "-etcd-endpoints"},
		{"-secret-namespaces=shop,*", "-secret-namespaces"},
		{"-log-format=xml", "-log-format"},
		{"-log-level=loud", "log-level"},
		{"-cert-manager-kind=Issuer", "not named"},
		{"-nonsense", "-nonsense"},
		{"nonsense", `"nonsense" is not a flag`},
	} {
		_, err := parse([]string{test.arg}, io.Discard)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: error %v, want a usage error", test.arg, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %q does not name %s", test.arg, err, test.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %q tells the password", test.arg, err)
		}
	}
}

func TestHelpExplainsEveryFlag(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"-help"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error %v, want help", err)
	}
	for _, name := range []string{"trust-domain", "nats-url", "etcd-endpoints", "secret-namespaces", "leader-elect", "metrics-address", "health-address", "cert-manager-issuer", "version"} {
		if !strings.Contains(out.String(), "  -"+name) {
			t.Errorf("help does not explain -%s", name)
		}
	}
}
