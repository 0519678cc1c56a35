package runtime_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	xinhari "github.com/xinhari/xinhari/pkg/runtime"
)

// A service that cannot work without its database: it is opened before the
// service takes calls and closed after the last one, and while it is away the
// service is out of service.
func ExampleService_AddReadiness() {
	var db *sql.DB
	svc, err := xinhari.New("orders", xinhari.Options{})
	if err != nil {
		log.Print(err)
		os.Exit(xinhari.ExitCode(err))
	}
	svc.BeforeStart(func(context.Context) (err error) {
		db, err = sql.Open("postgres", os.Getenv("DATABASE_URL"))
		return err
	})
	svc.AfterStop(func(context.Context) error {
		if db == nil {
			return nil
		}
		return db.Close()
	})
	err = svc.AddReadiness("database", func(ctx context.Context) error { return db.PingContext(ctx) })
	if err == nil {
		err = svc.Run(context.Background())
	}
	if err != nil {
		log.Print(err)
	}
	os.Exit(xinhari.ExitCode(err))
}

// A Job calls others and ends; it has no port.
func ExampleService_Start() {
	job, err := xinhari.New("nightly", xinhari.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := job.Start(ctx); err != nil {
		log.Fatal(err)
	}
	_, err = call(ctx, job, "orders") // with a client of its own
	if closing := job.Close(ctx); err == nil {
		err = closing
	}
	if err != nil {
		log.Fatal(err)
	}
}
