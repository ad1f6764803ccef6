-- of attempts
t.delivery_id = {{bytes del {delivery_id:String}}}
    AND t.started_at >= {{time {{bytes del {delivery_id:String}}}}} - INTERVAL 1 DAY
    AND startsWith(t.webhook_id, substring({{bytes del {delivery_id:String}}}, 7, 4))
COMMENT 'audit.attempts of one delivery, fast without anything else: SELECT * FROM audit.delivery_attempts(delivery_id = ''del_...'')'
