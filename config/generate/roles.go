package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// operator is the name of the operator's ClusterRole and Role.
const operator = "xinhari-operator"

// writeRoles writes the operator's roles, and copies those of workloads, which config/rbac/workload.yaml holds.
func writeRoles(root string, in []byte) error {
	roles, err := readRoles(in)
	if err != nil {
		return err
	}
	for i := range roles {
		roles[i].Name = operator
	}
	if err := writePlain(filepath.Join(root, "config", "rbac", "operator.yaml"), roles); err != nil {
		return err
	}
	if err := writeTemplate(filepath.Join(root, "charts", "xinhari", "templates", "operator-roles.yaml"), roles); err != nil {
		return err
	}
	workload, err := os.ReadFile(filepath.Join(root, "config", "rbac", "workload.yaml"))
	if err != nil {
		return err
	}
	if roles, err = readRoles(workload); err != nil {
		return err
	}
	return writeTemplate(filepath.Join(root, "charts", "xinhari", "templates", "workload-roles.yaml"), roles)
}

// readRoles reads ClusterRoles and Roles, which have the same fields but for what they are called.
func readRoles(in []byte) ([]rbacv1.Role, error) {
	var roles []rbacv1.Role
	for _, doc := range documents(in) {
		var role rbacv1.Role
		if err := yaml.UnmarshalStrict(doc, &role); err != nil {
			return nil, fmt.Errorf("reading a role: %w", err)
		}
		if role.Kind != "ClusterRole" && role.Kind != "Role" {
			return nil, fmt.Errorf("a %s stands where a role should", role.Kind)
		}
		roles = append(roles, role)
	}
	if len(roles) == 0 {
		return nil, fmt.Errorf("standard input holds no role")
	}
	return roles, nil
}

func writePlain(name string, roles []rbacv1.Role) error {
	var out bytes.Buffer
	out.WriteString(header)
	for _, role := range roles {
		body, err := yaml.Marshal(map[string]any{
			"apiVersion": role.APIVersion, "kind": role.Kind, "rules": role.Rules,
			"metadata": withoutEmpty(map[string]any{"name": role.Name, "namespace": role.Namespace}),
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "---\n%s", body)
	}
	return write(name, out.Bytes())
}

func writeTemplate(name string, roles []rbacv1.Role) error {
	var out bytes.Buffer
	out.WriteString(header)
	for _, role := range roles {
		rules, err := yaml.Marshal(role.Rules)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", role.APIVersion, role.Kind, role.Name)
		if role.Kind == "Role" {
			out.WriteString("  namespace: {{ .Release.Namespace }}\n")
		}
		fmt.Fprintf(&out, "  labels:\n    {{- include \"xinhari.labels\" . | nindent 4 }}\nrules:\n%s", rules)
	}
	return write(name, out.Bytes())
}

func withoutEmpty(m map[string]any) map[string]any {
	for key, value := range m {
		if value == "" {
			delete(m, key)
		}
	}
	return m
}
