package v1alpha1

import (
	"fmt"
	"regexp"
	"time"
)

// durationPattern bounds each number, so that no accepted value can overflow.
const durationPattern = `^([0-9]{1,5}(h|m|s|ms)){1,4}$`

// Duration is a length of time: whole numbers with the units h, m, s and ms, such as 30s, 1h30m or 250ms.
//
// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=28
type Duration string

// Value returns the duration, or an error for a string that the API server would refuse.
func (d Duration) Value() (time.Duration, error) {
	if !regexp.MustCompile(durationPattern).MatchString(string(d)) {
		return 0, fmt.Errorf("duration %q: want whole numbers with the units h, m, s and ms, such as 1h30m", string(d))
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("duration %q: %w", string(d), err)
	}
	return v, nil
}

// ValueOr returns the duration, or fallback where the field was omitted.
func (d Duration) ValueOr(fallback time.Duration) (time.Duration, error) {
	if d == "" {
		return fallback, nil
	}
	return d.Value()
}
