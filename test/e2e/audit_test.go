package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/xinhari/xinhari/test/shopcluster"
)

// event is what a line of the API server's audit log says.
type event struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

const operatorUser = "system:serviceaccount:" + shopcluster.OperatorNamespace + ":xinhari-operator"

// excess says what of a request is beyond what its account is to ask for;
// empty is nothing.
func excess(e event) string {
	secret := e.ObjectRef.Resource == "secrets" && e.ObjectRef.APIGroup == ""
	switch {
	case e.User.Username == operatorUser:
		switch {
		case !secret:
			return ""
		case e.ObjectRef.Namespace != shopcluster.OperatorNamespace:
			return "a Secret outside of its namespace"
		case !slices.Contains([]string{"xinhari-ca", "xinhari-signing"}, e.ObjectRef.Name):
			return "Secrets other than those of its issuers"
		case e.Verb == "delete" || e.Verb == "deletecollection" || e.Verb == "patch":
			return "a verb that it has no use for"
		}
	case isWorkload(e.User.Username):
		switch {
		case secret:
			return "a Secret"
		case e.ObjectRef.Resource == "certificatesigningrequests" && e.Verb != "create" && e.Verb != "get":
			return "more of requests than to make and get them"
		}
	}
	return ""
}

// isWorkload says whether a user is an account of one of the shops.
func isWorkload(user string) bool {
	return strings.HasPrefix(user, "system:serviceaccount:shop:") || strings.HasPrefix(user, "system:serviceaccount:kiosk:")
}

func TestExcess(t *testing.T) {
	const workload = "system:serviceaccount:kiosk:orders"
	for _, test := range []struct {
		name, user, verb, resource, namespace, object string
		want                                          bool
	}{
		{"the operator reads its issuer", operatorUser, "get", "secrets", "xinhari-system", "xinhari-ca", false},
		{"the operator watches one Secret by name", operatorUser, "watch", "secrets", "xinhari-system", "xinhari-signing", false},
		{"the operator watches its namespace's Secrets", operatorUser, "watch", "secrets", "xinhari-system", "", true},
		{"the operator lists all Secrets", operatorUser, "list", "secrets", "", "", true},
		{"the operator reads another namespace's Secret", operatorUser, "get", "secrets", "shop", "xinhari-ca", true},
		{"the operator deletes its issuer", operatorUser, "delete", "secrets", "xinhari-system", "xinhari-ca", true},
		{"the operator lists pods", operatorUser, "list", "pods", "", "", false},
		{"a workload reads a Secret", workload, "get", "secrets", "kiosk", "password", true},
		{"a workload asks for a certificate", workload, "create", "certificatesigningrequests", "", "xinhari-a", false},
		{"a workload looks at its request", workload, "get", "certificatesigningrequests", "", "xinhari-a", false},
		{"a workload lists requests", workload, "list", "certificatesigningrequests", "", "", true},
		{"someone else lists Secrets", "system:kube-controller-manager", "list", "secrets", "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := event{Verb: test.verb}
			e.User.Username = test.user
			e.ObjectRef.Resource, e.ObjectRef.Namespace, e.ObjectRef.Name = test.resource, test.namespace, test.object
			if got := excess(e); (got != "") != test.want {
				t.Errorf("got %q, want something: %v", got, test.want)
			}
		})
	}
}

// audited holds the whole run to what accounts are to ask the API server for.
func audited(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "devcluster", "logs", "audit", "-o", "json").Output()
	must(t, err)
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	whole, secrets, requests := false, 0, map[string]int{}
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the end of what was cut off
		}
		if what := excess(e); what != "" {
			t.Errorf("%s asked for %s: %s %s, answered %d", e.User.Username, what, e.Verb, e.RequestURI, e.ResponseStatus.Code)
		}
		switch r := e.ObjectRef; {
		case r.Resource == "serviceaccounts" && r.Subresource == "" && r.Namespace == shopcluster.OperatorNamespace &&
			(e.Verb == "create" || e.Verb == "patch") && !strings.HasPrefix(e.User.Username, "system:"):
			whole = true // helm's
		case e.User.Username == operatorUser && r.Resource == "secrets":
			secrets++
		case isWorkload(e.User.Username) && r.Resource == "certificatesigningrequests" && e.Verb == "create":
			requests[e.User.Username]++
		}
	}
	must(t, lines.Err())
	t.Logf("the operator asked %d times for its Secrets, workloads for certificates: %v", secrets, requests)
	if !whole {
		t.Error("the log does not begin with the installation: something was not looked at")
	}
	if secrets == 0 || len(requests) != 6 {
		t.Errorf("the operator asked %d times for Secrets and %d accounts for certificates, want some and 6: the log is not that of the run", secrets, len(requests))
	}
}
