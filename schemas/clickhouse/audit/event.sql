-- of events
t.account = {account:String}
    AND startsWith(t.event_key, substring(SHA256(concat(unhex(leftPad(hex(length({account:String})), 16, '0')), {account:String}, unhex(leftPad(hex(length({event_id:String})), 16, '0')), {event_id:String})), 1, 8))
    AND t.event_id = {event_id:String}
COMMENT 'audit.events by id, fast: SELECT * FROM audit.event(account = ''...'', event_id = ''...'')'
