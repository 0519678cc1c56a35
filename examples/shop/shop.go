// Package shop has the messages of the example shop: orders calls inventory.
package shop

import "time"

// Methods of the shop's services.
const (
	ReserveMethod = "shop.Inventory/Reserve"
	PlaceMethod   = "shop.Orders/Place"
	ReportMethod  = "shop.Orders/Report"
)

// Reservation asks inventory for a quantity of an article.
type Reservation struct {
	Article  string `json:"article"`
	Quantity int    `json:"quantity"`
}

// Reserved is inventory's answer, and says which instance gave it to whom.
type Reserved struct {
	Article  string `json:"article"`
	Quantity int    `json:"quantity"`
	By       string `json:"by"`
	For      string `json:"for"` // the SPIFFE ID that the caller proved
}

// ReportRequest asks orders for its calls since the last report.
type ReportRequest struct{}

// Report is what became of orders' calls to inventory.
type Report struct {
	Calls   int            `json:"calls"`
	Slowest time.Duration  `json:"slowest"` // in nanoseconds
	By      map[string]int `json:"by"`      // successful calls by the instance that answered
	As      map[string]int `json:"as"`      // successful calls by the caller that the instance saw
	Failed  []Failure      `json:"failed"`
}

// Failure is a call that failed.
type Failure struct {
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"` // in nanoseconds
	Peer  string        `json:"peer"` // the address that the call was sent to, "" = none
	Error string        `json:"error"`
}
