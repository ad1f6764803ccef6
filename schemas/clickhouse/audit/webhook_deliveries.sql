-- of deliveries
t.account = {account:String} AND t.webhook_id = {{bytes wh {webhook_id:String}}}
COMMENT 'audit.deliveries of one webhook, fast: SELECT * FROM audit.webhook_deliveries(account = ''...'', webhook_id = ''wh_...'')'
