package certmanager

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
		want    string // of the error; empty is none
	}{
		{"nothing", Options{}, ""},
		{"a name", Options{Issuer: "root"}, ""},
		{"all", Options{Issuer: "root", Kind: "Issuer", Group: "cert-manager.io", Duration: time.Hour, RenewBefore: 5 * time.Minute, Unconstrained: true}, ""},
		{"a kind of another group", Options{Issuer: "root", Kind: "AWSPCAClusterIssuer", Group: "awspca.cert-manager.io"}, ""},
		{"a kind and no name", Options{Kind: "Issuer"}, "not named"},
		{"a kind of no group", Options{Issuer: "root", Kind: "AWSPCAClusterIssuer"}, "no issuers of kind AWSPCAClusterIssuer"},
		{"a life that is too short", Options{Issuer: "root", Duration: 59 * time.Minute}, "1h0m0s or more"},
		{"a life below zero", Options{Issuer: "root", Duration: -time.Hour}, "1h0m0s or more"},
		{"a renewal that is too late", Options{Issuer: "root", RenewBefore: time.Minute}, "5m0s or more"},
		{"a renewal before its beginning", Options{Issuer: "root", Duration: time.Hour, RenewBefore: time.Hour}, "renew it later"},
		{"a renewal before the beginning of the usual life", Options{Issuer: "root", RenewBefore: Life}, "renew it later"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.options.Validate()
			if test.want == "" && err == nil {
				return
			}
			if err == nil || test.want == "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
