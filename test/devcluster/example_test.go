package devcluster_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/xinhari/xinhari/test/devcluster"
)

// A caller gives up on a callee that it does not reach. In a file of tests,
// this function is called TestInventoryIsAway.
func Example() {
	_ = func(t *testing.T) {
		if !devcluster.Running() {
			t.Skip("not in a devcluster")
		}
		devcluster.Cut(t, "shop/orders-0", "shop/inventory-0") // until the test ends
		client := http.Client{Timeout: 10 * time.Second}
		response, err := client.Post("http://orders.shop:8080/shop.v1.Orders/Place", "application/json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("orders says %s", response.Status)
		}
	}
}
