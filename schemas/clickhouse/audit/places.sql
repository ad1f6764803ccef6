CREATE OR REPLACE VIEW {{audit}}.places
(
    topic         String COMMENT 'Topic of the log, without its prefix',
    log_partition UInt16 COMMENT 'Partition',
    next_offset   UInt64 COMMENT 'Every record below this offset is in the history: answers hold for the log up to here',
    at            DateTime64(3, 'UTC') COMMENT 'When the history had come so far'
)
AS
SELECT toString(topic) AS topic, part AS log_partition, next_off AS next_offset, at
FROM {{db}}.places FINAL
COMMENT 'How far the history has come in each partition of the log'
