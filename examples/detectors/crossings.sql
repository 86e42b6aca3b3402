-- How many vehicles leave the city on this carriageway, in each quarter of an hour?
SPLIT highway
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z
  BY TIME 5 sec
  AT 15 FPS
  INTO chunks;

PROCESS chunks USING 'crossings' TIMEOUT 2 sec
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (away:NUMBER=0, towards:NUMBER=0)
  INTO passed;

SELECT bin(chunk, 15 min) AS quarter, SUM(RANGE(away, 0, 15)) AS away
  FROM passed GROUP BY quarter CONSUMING 1;
