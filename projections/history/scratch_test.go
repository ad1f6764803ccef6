package history_test
import ("testing";"time";"fmt";"hookledger/projections/history")
func TestScratch(t *testing.T){
 h:=open(t)
 tm:=func(name string,n int,f func()){ s:=time.Now(); for range n {f()}; fmt.Println(name, time.Since(s)/time.Duration(n))}
 tm("ping",50,func(){must(t,h.Ping(t.Context()))})
 tm("covered",50,func(){_,e:=h.Covered(t.Context(),"attempts");must(t,e)})
 tm("list",20,func(){_,_,e:=h.Deliveries(t.Context(),"a",webhook(1),history.Page{});must(t,e)})
}
