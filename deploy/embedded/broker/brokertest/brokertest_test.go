package brokertest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hookledger/deploy/embedded/broker"
	"hookledger/deploy/embedded/broker/brokertest"
)

func TestMain(m *testing.M) {
	code := brokertest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

func TestOneBrokerForAll(t *testing.T) {
	first, second := brokertest.Start(t), brokertest.Start(t)
	if first != second {
		t.Error("two brokers, want one shared by the package")
	}
	if own := brokertest.New(t, broker.Options{}); own == first {
		t.Error("New returned the shared broker")
	}
	topic := brokertest.Topic(t, first, "events", 2)
	if other := brokertest.Topic(t, first, "events", 2); topic == other || !strings.HasSuffix(topic, ".events") {
		t.Errorf("topics %q and %q", topic, other)
	}
	cl := brokertest.Client(t, first, kgo.DefaultProduceTopic(topic))
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Error(err)
	}
}
