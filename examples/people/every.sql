-- A question that repeats: the average of every five minutes, each window released by itself.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END NEVER EVERY 5 min HORIZON 15 min
  BY TIME 10 sec
  AT 5 FPS RESIZE 384x288
  INTO chunks;

PROCESS chunks USING 'people.py' TIMEOUT 500 ms
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (people:NUMBER=0)
  INTO seen;

SELECT AVG(RANGE(people, 0, 8)) AS people FROM seen CONSUMING 1;
