// Package apply writes objects by server-side apply, and only where something differs.
//
// An object at rest costs no request: what is wanted is compared with what the cache holds before anything is sent.
// The comparison knows what the controllers of this module write: every field they set in a list's item is set
// explicitly, so that lists are compared whole; maps named selector and data are theirs alone; elsewhere, fields that
// others added are left alone.
package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	xinhariv1alpha1 "github.com/xinhari/xinhari/api/v1alpha1"
)

// Object makes the API server's object hold what wanted says. Live is the object as last seen, or nil where there was
// none; then a field that someone else set meanwhile is a conflict error, and not taken over.
func Object(ctx context.Context, c client.Client, live client.Object, wanted runtime.ApplyConfiguration) error {
	options := []client.ApplyOption{client.FieldOwner(xinhariv1alpha1.FieldOwner)}
	if live != nil {
		same, err := Holds(live, wanted)
		if err != nil || same {
			return err
		}
		options = append(options, client.ForceOwnership)
	}
	return c.Apply(ctx, wanted, options...)
}

// Holds says whether live has every field of wanted.
func Holds(live client.Object, wanted runtime.ApplyConfiguration) (bool, error) {
	has, err := tree(live)
	if err != nil {
		return false, err
	}
	wants, err := tree(wanted)
	if err != nil {
		return false, err
	}
	// Typed objects from a cache do not name their kind.
	delete(wants, "apiVersion")
	delete(wants, "kind")
	return holds(has, wants), nil
}

func tree(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("comparing objects: %w", err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("comparing objects: %w", err)
	}
	return m, nil
}

func holds(has, wants map[string]any) bool {
	for _, name := range []string{"selector", "data"} {
		if !equal(has[name], wants[name]) {
			return false
		}
	}
	for key, want := range wants {
		inner, ok := want.(map[string]any)
		if !ok {
			if !equal(has[key], want) {
				return false
			}
			continue
		}
		if outer, ok := has[key].(map[string]any); !ok || !holds(outer, inner) {
			return false
		}
	}
	return true
}

// equal takes a field that is left out for one that holds nothing, since typed objects leave such fields out.
func equal(has, want any) bool {
	if has == nil && want != nil {
		return reflect.ValueOf(want).IsZero()
	}
	return reflect.DeepEqual(has, want)
}
