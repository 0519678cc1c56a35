package shopcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// InstallOperator installs the operator by its chart, with further arguments
// for helm.
func InstallOperator(ctx context.Context, chart string, args ...string) error {
	_, err := Run(ctx, "helm", append([]string{
		"install", "xinhari", chart, "--namespace", OperatorNamespace, "--create-namespace", "--wait", "--timeout", "90s",
	}, args...)...)
	return err
}

// ScaleOperator has so many operators run, and waits until it is so.
func ScaleOperator(ctx context.Context, replicas int) error {
	if err := operator(ctx, "scale", "deployment", "--all", "--replicas="+strconv.Itoa(replicas)); err != nil {
		return err
	}
	if replicas == 0 {
		return operator(ctx, "wait", "pod", "--all", "--for=delete", "--timeout=60s")
	}
	return operator(ctx, "rollout", "status", "deployment/xinhari-operator", "--timeout=90s")
}

// RestartOperator replaces all operators, one after the other.
func RestartOperator(ctx context.Context) error {
	if err := operator(ctx, "rollout", "restart", "deployment/xinhari-operator"); err != nil {
		return err
	}
	return operator(ctx, "rollout", "status", "deployment/xinhari-operator", "--timeout=90s")
}

// Operators returns the pods of the operator.
func Operators(ctx context.Context) ([]Pod, error) {
	return pods(ctx, OperatorNamespace, "app.kubernetes.io/name=xinhari")
}

// Leader returns the pod of the operator that leads.
func Leader(ctx context.Context) (Pod, error) {
	holder, err := Run(ctx, "kubectl", "-n", OperatorNamespace, "get", "lease", "xinhari-operator", "-o", "jsonpath={.spec.holderIdentity}")
	if err != nil {
		return Pod{}, err
	}
	all, err := Operators(ctx)
	if err != nil {
		return Pod{}, err
	}
	for _, p := range all {
		if strings.HasPrefix(holder, p.Name) {
			return p, nil
		}
	}
	return Pod{}, fmt.Errorf("%q, which leads, is not one of the %d operators", holder, len(all))
}

func operator(ctx context.Context, args ...string) error {
	_, err := Run(ctx, "kubectl", append([]string{"-n", OperatorNamespace}, args...)...)
	return err
}

// Trust is what the operator says of the roots.
type Trust struct {
	Phase      string `json:"phase"`
	BundleHash string `json:"bundleHash"`
	Conditions []struct {
		Type    string `json:"type"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"conditions"`
}

// String returns the phase, and what it waits for.
func (t Trust) String() string {
	for _, condition := range t.Conditions {
		if condition.Type == "Rotating" && condition.Message != "" {
			return t.Phase + ": " + condition.Message
		}
	}
	return t.Phase
}

// TrustNow returns what the operator says now.
func TrustNow(ctx context.Context) (Trust, error) {
	var object struct {
		Data map[string]string `json:"data"`
	}
	out, err := Run(ctx, "kubectl", "-n", OperatorNamespace, "get", "configmap", "xinhari-trust", "-o", "json")
	if err != nil {
		return Trust{}, err
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		return Trust{}, err
	}
	var t Trust
	return t, yaml.Unmarshal([]byte(object.Data["state"]), &t)
}

// StartRotation has the operator replace its own root.
func StartRotation(ctx context.Context) error {
	return operator(ctx, "annotate", "configmap", "xinhari-trust", "xinhari.com/rotation=start")
}

// WaitRotated waits until a rotation that began with the roots of before is
// over, and tells of each change meanwhile.
func WaitRotated(ctx context.Context, before Trust, tell func(Trust) error) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	last := ""
	for {
		now, err := TrustNow(ctx)
		if err != nil {
			return err
		}
		if text := now.String(); text != last {
			last = text
			if err := tell(now); err != nil {
				return err
			}
		}
		if now.Phase == "Stable" && now.BundleHash != before.BundleHash {
			return nil
		}
		if err := Sleep(ctx, 300*time.Millisecond); err != nil {
			return fmt.Errorf("the rotation does not end: %s: %w", now, err)
		}
	}
}
