-- How many person-seconds are spent around the lamp post, of every ten? Divided by ten: how many stand there on average.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z
  BY TIME 10 sec
  AT 5 FPS
  INTO chunks;

PROCESS chunks USING 'dwell' TIMEOUT 3 sec
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (seconds:NUMBER=0, people:NUMBER=0)
  INTO stays;

SELECT AVG(RANGE(seconds, 0, 60)) AS seconds FROM stays CONSUMING 0.5;
