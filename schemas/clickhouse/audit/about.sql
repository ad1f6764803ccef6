-- Replaced last: whoever reads another checksum here than its own applies all
-- views again.
CREATE OR REPLACE VIEW {{audit}}.about
(
    history_database String COMMENT 'The database that these views read',
    checksum         String COMMENT 'SHA-256 over the statements that made these views'
)
AS
SELECT {{name}} AS history_database, {{checksum}} AS checksum
COMMENT 'Which history these views show. `hookledger rebuild` switches them to the one it made'
