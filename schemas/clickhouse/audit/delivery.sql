-- of deliveries
t.delivery_id = {{bytes del {delivery_id:String}}}
    AND t.created_at = {{time {{bytes del {delivery_id:String}}}}}
    AND startsWith(t.webhook_id, substring({{bytes del {delivery_id:String}}}, 7, 4))
COMMENT 'audit.deliveries by id, fast without anything else: SELECT * FROM audit.delivery(delivery_id = ''del_...'')'
