package shopcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/xinhari/xinhari/examples/shop"
)

// settle is longer than any call may take.
const settle = 1500 * time.Millisecond

// Load is what became of the calls of orders while something happened.
type Load struct {
	shop.Report
	Rate int
	Took time.Duration
}

// During does something and returns what became of the calls meanwhile.
func (s *Shop) During(ctx context.Context, do func(context.Context) error) (Load, error) {
	l := Load{Rate: s.Rate}
	if _, err := s.Report(ctx); err != nil { // forget what was before
		return l, err
	}
	began := time.Now()
	if err := do(ctx); err != nil {
		return l, err
	}
	if err := Sleep(ctx, settle); err != nil {
		return l, err
	}
	l.Took = time.Since(began)
	var err error
	l.Report, err = s.Report(ctx)
	return l, err
}

// Judge returns an error unless nine of ten calls that were due were made, and
// none of them failed but those that are excused, which it counts. Nil excuses
// none.
func (l Load) Judge(excuses func(shop.Failure) bool) (excused int, err error) {
	const most = 5
	var errs []error
	for _, f := range l.Failed {
		switch {
		case excuses != nil && excuses(f):
			excused++
		case len(errs) < most:
			errs = append(errs, fmt.Errorf("a call to %q at %s failed after %s: %s", f.Peer, f.Began.Format("15:04:05.000"), f.Took.Round(time.Millisecond), f.Error))
		}
	}
	if want := int(0.9 * float64(l.Rate) * l.Took.Seconds()); l.Calls < want {
		errs = append(errs, fmt.Errorf("only %d calls were made, want at least %d", l.Calls, want))
	}
	return excused, errors.Join(errs...)
}

// Report asks orders for its calls since the last report, as curl would if it
// had an identity.
func (s *Shop) Report(ctx context.Context) (shop.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var r shop.Report
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.orders.IP+":8080/"+shop.ReportMethod, strings.NewReader("{}"))
	if err != nil {
		return r, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("orders answered %s", response.Status)
	}
	return r, json.NewDecoder(response.Body).Decode(&r)
}
