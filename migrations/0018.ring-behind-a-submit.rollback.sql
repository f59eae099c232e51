DROP PROCEDURE submit_and_ring;
