package main

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// maxOptional bounds the optional fields of a closed object, since its schema has a case for every subset of them.
const maxOptional = 5

// closeObjects makes every object that keeps unknown fields refuse them.
//
// A structural schema has no additionalProperties: false beside properties, and validation rules see only fields that
// the schema names. What is left is to count: for each subset S of the optional fields there is a case "S is set and
// there are no more fields than the required ones and S". An object of known fields fits the case of those it sets; one
// unknown field more and it fits none.
func closeObjects(s *apiextensionsv1.JSONSchemaProps, path string) error {
	if s == nil {
		return nil
	}
	if s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields {
		if err := closeObject(s, path); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		child := s.Properties[name]
		if err := closeObjects(&child, path+"."+name); err != nil {
			return err
		}
		s.Properties[name] = child
	}
	if s.Items != nil {
		return closeObjects(s.Items.Schema, path+"[]")
	}
	return nil
}

func closeObject(s *apiextensionsv1.JSONSchemaProps, path string) error {
	if len(s.Properties) == 0 {
		return fmt.Errorf("%s: keeps unknown fields and names none", path)
	}
	var optional []string
	for name := range s.Properties {
		if !slices.Contains(s.Required, name) {
			optional = append(optional, name)
		}
	}
	sort.Strings(optional)
	if len(optional) == 0 {
		s.MaxProperties = new(int64(len(s.Required)))
		return nil
	}
	if len(optional) > maxOptional {
		return fmt.Errorf("%s: has %d optional fields; at most %d can be closed", path, len(optional), maxOptional)
	}
	for subset := range uint(1) << len(optional) {
		var set []string
		for i, name := range optional {
			if subset&(1<<i) != 0 {
				set = append(set, name)
			}
		}
		s.AnyOf = append(s.AnyOf, apiextensionsv1.JSONSchemaProps{
			Required:      set,
			MaxProperties: new(int64(len(s.Required) + bits.OnesCount(subset))),
		})
	}
	return nil
}
