package main

const deliveryMembers = `delivery_id webhook_id event_type status attempts last_attempt_at next_retry_at response_status_code
	response_body error_message created_at completed_at payload event_id round end`
