package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// render returns what the chart makes of values, or what it says against them.
func render(t *testing.T, values string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "helm"), "template", "xinhari", filepath.Join("..", "..", "charts", "xinhari"), "--set", values).CombinedOutput()
	return string(out), err
}

func TestChartRendersNoMoreThanIsAsked(t *testing.T) {
	const rights, policy, unconstrained = "name: xinhari-operator-cert-manager", "name: xinhari-issuer", "-cert-manager-unconstrained"
	for _, test := range []struct {
		values  string
		with    []string
		without []string
	}{
		{"certManager.issuer=", nil, []string{"cert-manager", "xinhari-issuer"}},
		{"certManager.issuer=root", []string{rights, policy, "-cert-manager-issuer=root", "-cert-manager-kind=ClusterIssuer"}, []string{unconstrained}},
		{"certManager.issuer=root,certManager.exclusive=false", []string{rights}, []string{policy}},
		{"certManager.issuer=root,certManager.kind=Issuer", []string{rights, "-cert-manager-kind=Issuer"}, []string{policy}},
		{"certManager.issuer=root,certManager.unconstrained=true", []string{unconstrained}, nil},
	} {
		t.Run(test.values, func(t *testing.T) {
			out, err := render(t, test.values)
			if err != nil {
				t.Fatal(out)
			}
			for _, text := range test.with {
				if !strings.Contains(out, text) {
					t.Errorf("%q is missing", text)
				}
			}
			for _, text := range test.without {
				if strings.Contains(out, text) {
					t.Errorf("%q is there", text)
				}
			}
		})
	}
}

func TestChartRefuses(t *testing.T) {
	for _, value := range []string{"issuer=Root", "issuer=-root", "kind=clusterIssuer", "kind=", "group=", "duration=90d", "duration=", "renewBefore=soon", "exclusive=maybe", "issuers=root"} {
		t.Run(value, func(t *testing.T) {
			name, _, _ := strings.Cut(value, "=")
			if out, err := render(t, "certManager."+value); err == nil || !strings.Contains(out, name) {
				t.Errorf("it is taken, or the error does not name it: %v: %s", err, out)
			}
		})
	}
}
