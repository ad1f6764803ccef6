-- of attempts
t.account = {account:String} AND t.webhook_id = {{bytes wh {webhook_id:String}}}
COMMENT 'audit.attempts of one webhook, fast: SELECT * FROM audit.webhook_attempts(account = ''...'', webhook_id = ''wh_...'')'
