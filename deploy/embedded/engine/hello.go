package engine

import (
	"fmt"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// helloQuery is how clickhouse-go shakes hands over HTTP.
const helloQuery = "SELECT displayName(), version(), revision(), timezone()"

// hello is the answer to helloQuery. The driver decodes it in its own protocol
// revision (client_protocol_version), and everything after it in the revision
// that it is told here. The library writes plain Native, which is revision 0, so
// that is what it is told.
func hello(version, timezone string, clientRevision uint64) ([]byte, error) {
	block := proto.NewBlock()
	for _, c := range []struct{ name, kind string }{
		{"displayName()", "String"}, {"version()", "String"}, {"revision()", "UInt32"}, {"timezone()", "String"},
	} {
		if err := block.AddColumn(c.name, column.Type(c.kind)); err != nil {
			return nil, fmt.Errorf("hello column %s: %w", c.name, err)
		}
	}
	if err := block.Append("hookledger", version, uint32(0), timezone); err != nil {
		return nil, fmt.Errorf("hello row: %w", err)
	}
	var buf chproto.Buffer
	if err := block.Encode(&buf, clientRevision); err != nil {
		return nil, fmt.Errorf("hello block: %w", err)
	}
	return buf.Buf, nil
}
