package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTokensAreRenewedInTime(t *testing.T) {
	tests := []struct {
		name    string
		seconds int64
		away    bool // the API server, after the first answer
		at      []time.Duration
		want    []string
	}{
		{name: "at 80 % of its life", seconds: 600, at: []time.Duration{0, 479 * time.Second, 480 * time.Second}, want: []string{"1", "1", "2"}},
		{name: "after a day at the latest", seconds: 1000 * 3600, at: []time.Duration{0, 23 * time.Hour, 24 * time.Hour}, want: []string{"1", "1", "2"}},
		{name: "the old one serves to its end", seconds: 600, away: true, at: []time.Duration{0, 599 * time.Second, 600 * time.Second}, want: []string{"1", "1", ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, count := time.Now(), 0
				tokens := &tokens{kept: map[tokenKey]keptToken{}, request: func(_ context.Context, key tokenKey) (string, time.Time, error) {
					if count > 0 && test.away {
						return "", time.Time{}, errors.New("no answer")
					}
					count++
					return fmt.Sprint(count), time.Now().Add(time.Duration(key.seconds) * time.Second), nil
				}}
				var got []string
				for _, at := range test.at {
					time.Sleep(at - time.Since(begun))
					token, err := tokens.Token(t.Context(), "", test.seconds)
					if (err != nil) != (token == "") {
						t.Error(err)
					}
					got = append(got, token)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
