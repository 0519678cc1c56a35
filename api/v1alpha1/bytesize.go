package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
)

// byteSizePattern bounds the digits, so that no accepted value can overflow.
const byteSizePattern = `^([1-9][0-9]{0,17}|[1-9][0-9]{0,5}(Ki|Mi|Gi|Ti))$`

// ByteSize is a number of bytes: a whole number, alone or with the unit Ki, Mi, Gi or Ti (powers of 1024), such as 1Gi.
//
// +kubebuilder:validation:Pattern=`^([1-9][0-9]{0,17}|[1-9][0-9]{0,5}(Ki|Mi|Gi|Ti))$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=18
type ByteSize string

// Value returns the number of bytes, or an error for a string that the API server would refuse.
func (b ByteSize) Value() (int64, error) {
	s := string(b)
	if !regexp.MustCompile(byteSizePattern).MatchString(s) {
		return 0, fmt.Errorf("byte size %q: want a whole number, alone or with Ki, Mi, Gi or Ti, such as 512Mi", s)
	}
	shift, digits := 0, s
	if s[len(s)-1] == 'i' {
		switch s[len(s)-2] {
		case 'K':
			shift = 10
		case 'M':
			shift = 20
		case 'G':
			shift = 30
		case 'T':
			shift = 40
		}
		digits = s[:len(s)-2]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("byte size %q: %w", s, err)
	}
	return n << shift, nil
}

// ValueOr returns the number of bytes, or fallback where the field was omitted.
func (b ByteSize) ValueOr(fallback int64) (int64, error) {
	if b == "" {
		return fallback, nil
	}
	return b.Value()
}
