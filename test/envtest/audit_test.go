package envtest

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// auditLog is the file in which the API server notes each request, before it answers.
var auditLog string

// auditPolicy cannot choose by the user that a request impersonates.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
`

// auditEvent is what the tests read of a request.
type auditEvent struct {
	Stage            string
	Verb             string
	ImpersonatedUser struct{ Username string }
	ObjectRef        *struct{ Namespace, Resource, Subresource, APIGroup, Name string }
	ResponseStatus   struct{ Code int }
	RequestObject    json.RawMessage
}

// write says whether the request could change something.
func (e auditEvent) write() bool {
	return e.Verb != "get" && e.Verb != "list" && e.Verb != "watch"
}

// election says whether the request is about who leads.
func (e auditEvent) election() bool {
	return e.ObjectRef.Resource == "leases" || e.ObjectRef.Resource == "events" && e.ObjectRef.Namespace == operatorNamespace
}

// requests returns the operator's requests so far.
func requests(t *testing.T) []auditEvent {
	t.Helper()
	f, err := os.Open(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []auditEvent
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("audit log: %v", err)
		}
		if e.ImpersonatedUser.Username == operatorUser && e.ObjectRef != nil {
			all = append(all, e)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the audit log holds no request of the operator")
	}
	return all
}

// right is one thing that a rule allows.
type right struct {
	Verb, Group, Resource, Name string
}

// page is the name that all ConfigMaps of records share here: which of them are written is chance.
const page = "xinhari-leaves-*"

func named(name string) string {
	if strings.HasPrefix(name, "xinhari-leaves-") {
		return page
	}
	return name
}

// rights returns the single rights that rules give.
func rights(rules []rbacv1.PolicyRule) map[right]bool {
	all := map[right]bool{}
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						all[right{Verb: verb, Group: group, Resource: resource, Name: named(name)}] = true
					}
				}
			}
		}
	}
	return all
}

// needs returns the rights that a request needed. A patch that made an object needed the right to create it, and a
// RoleBinding that was made needed the right to bind its role.
func (e auditEvent) needs(t *testing.T) []right {
	t.Helper()
	r := right{Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Name: named(e.ObjectRef.Name)}
	if e.ObjectRef.Subresource != "" {
		r.Resource += "/" + e.ObjectRef.Subresource
	}
	all := []right{r}
	// To approve and to sign are rights at the signer as well.
	if verb, ok := map[string]string{"approval": "approve", "status": "sign"}[e.ObjectRef.Subresource]; ok && e.ObjectRef.APIGroup == "certificates.k8s.io" {
		all = append(all, right{Verb: verb, Group: e.ObjectRef.APIGroup, Resource: "signers", Name: xinhariv1alpha1.SignerName})
	}
	if e.Verb != "patch" || e.ResponseStatus.Code != 201 {
		return all
	}
	r.Verb = "create"
	all = append(all, r)
	if r.Resource == "rolebindings" {
		var binding rbacv1.RoleBinding
		if err := json.Unmarshal(e.RequestObject, &binding); err != nil {
			t.Fatal(err)
		}
		all = append(all, right{Verb: "bind", Group: rbacv1.GroupName, Resource: "clusterroles", Name: binding.RoleRef.Name})
	}
	return all
}

// grant returns which of the granted rights allows what was needed.
func grant(granted map[right]bool, needed right) (right, bool) {
	if granted[needed] {
		return needed, true
	}
	needed.Name = ""
	return needed, granted[needed]
}

func (r right) String() string {
	return strings.TrimSpace(r.Verb + " " + r.Resource + "." + r.Group + " " + r.Name)
}
